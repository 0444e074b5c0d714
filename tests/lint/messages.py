#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Holds what the daemons log, systemd/compozy.catalog and docs/messages.md to each other.

usage: messages.py            say what is wrong
       messages.py --write    write docs/messages.md anew
       messages.py --steps    the values of COMPOZY_STEP that the code writes, with their MESSAGE_ID

Lines are found by how they are written: log_line(), log_limited() and so on, with what the #defines of their file stand for. An operator's line
(above debug) has a MESSAGE_ID; each id is defined once and has an entry in the catalog; an entry names only fields that
every line of its id has.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
CATALOG = "systemd/compozy.catalog"
DOCS = "docs/messages.md"
OWNER = {"dispatcherd": "COMPOZY_DISPATCHER_ID", "runtimed": "COMPOZY_RUNTIME_ID", "common": None}
DAEMON = {"dispatcherd": "compozy-dispatcherd", "runtimed": "compozy-runtimed", "common": "both daemons"}
HEADERS = ["Subject", "Defined-By", "Support", "Documentation"]
LEVEL = re.compile(r"LOG_(EMERG|ALERT|CRIT|ERR|WARNING|NOTICE|INFO|DEBUG)$")
CALL = re.compile(r"\b(log_line|log_write|log_limited\w*)\(")
FIELD = re.compile(r'\bF_(?:STR|SLICE|U64|U64_IF)\(\s*"(\w+)"|\b(F_ERRNO)\(')


def without_comments(text):
    pattern = re.compile(r'"(?:\\.|[^"\\])*"|/\*.*?\*/', re.S)
    return pattern.sub(lambda m: m.group() if m.group()[0] == '"' else " ", text)


def arguments(text, start):
    """Of the call whose parenthesis opens just before `start`, split at its own commas."""
    depth, found, begin, at, in_string = 0, [], start, start, False
    while True:
        c = text[at]
        if in_string:
            at += 2 if c == "\\" else 1
            in_string = c != '"'
            continue
        if c == '"':
            in_string = True
        elif c in "([{":
            depth += 1
        elif c in ")]}" and depth > 0:
            depth -= 1
        elif c == ")":
            return [*found, text[begin:at].strip()]
        elif c == "," and depth == 0:
            found.append(text[begin:at].strip())
            begin = at + 1
        at += 1


def sentence_of(format_text):
    text = re.sub(r'%"\s*PRIu64(\s*")?', lambda m: "%u" if m.group(1) else '%u"', format_text)
    text = re.sub(r"^[^\"]*\?(.*):[^\"]*\".*$", r"\1", text, flags=re.S)  # of two formats the first
    parts = re.findall(r'"((?:\\.|[^"\\])*)"', text)
    text = "".join(parts).replace('\\"', '"')
    text = re.sub(r"%(?:\.\*s|\.\d+f|[a-z]*[sudxf])", "…", text)
    return re.sub(r"(?:…)+", "…", text)


class Line:
    def __init__(self, path, level, message_id, fields, sentence, is_limited, steps):
        self.path, self.level, self.id, self.fields = path, level, message_id, fields
        self.sentence, self.is_limited, self.steps = sentence, is_limited, steps
        self.directory = path.split("/")[0]


def expand(text, macros):
    for _ in range(4):
        for name, body in macros.items():
            text = re.sub(rf"\b{name}\b", lambda _m, body=body: body, text)
    return text


def read_file(path, ids, complaints):
    text = without_comments(open(os.path.join(ROOT, path), encoding="utf-8").read())
    defines = re.findall(r"^#define (\w+)(\([^)]*\))? +((?:.*\\\n)*.*)$", text, re.M)
    body = re.sub(r"^#define (?:.*\\\n)*.*$", "", text, flags=re.M)
    macros = {}
    for name, parameters, value in defines:
        value = value.replace("\\\n", " ")
        message_id = re.fullmatch(r'"([0-9a-f]{32})"', value.strip())
        if message_id:
            ids.append((message_id.group(1), name, path))
        elif not parameters:
            macros[name] = value
        elif name == "STEP":
            body = re.sub(r"\bSTEP\(", 'F_STR("STEP", ', body)
            value = value.replace("STEP(", 'F_STR("STEP", ')
    macros = {name: value.replace("STEP(", 'F_STR("STEP", ') for name, value in macros.items()}
    names = {name: message_id for message_id, name, where in ids if where == path}
    lines, kinds = [], set()
    for function in re.split(r"\n(?=\w)", body):
        for call in CALL.finditer(function):
            args = arguments(function, call.end())
            args = [part for arg in args for part in (arguments(expand(arg, macros) + ")", 0) if arg in macros else [arg])]
            at = next((i for i, arg in enumerate(args) if LEVEL.match(arg) or arg.endswith("->level")), None)
            if at is None:
                complaints.append(f"{path}: {call.group()}{args[0]}…: its level is not one of LOG_EMERG … LOG_DEBUG")
                continue
            level = LEVEL.match(args[at]).group(1).lower() if LEVEL.match(args[at]) else "as the agent says"
            fields_at = next(i for i, arg in enumerate(args) if re.match(r"\(?\(?(FIELDS|NO_FIELDS)", expand(arg, macros)))
            fields = []
            for name, errno in FIELD.findall(expand(args[fields_at], macros)):
                name = "ERRNO" if errno else "COMPOZY_" + name
                if name not in fields:
                    fields.append(name)
            steps = re.findall(r'F_STR\("STEP",\s*"(\w+)"', args[fields_at] + expand(args[fields_at], macros))
            steps += [c for c in re.findall(r'F_STR\("STEP",\s*([a-z]\w*)\)', args[fields_at]) for c in steps_of(path, function)]
            sentence = sentence_of(args[fields_at + 1])
            if level == "as the agent says":
                sentence = "(the agent's own words)"
            id_text = args[at + 1]
            if id_text == "NULL" and level != "debug":
                complaints.append(f'{path}: the line "{sentence}" ({level}) is an operator\'s and has no MESSAGE_ID')
            if id_text != "NULL" and id_text not in names:
                complaints.append(f"{path}: {id_text} is not #defined in this file as 32 hexadecimal digits")
            is_limited = call.group(1).startswith("log_limited") or level == "as the agent says"
            lines.append(Line(path, level, names.get(id_text), fields, sentence, is_limited, sorted(set(steps))))
            kinds.add(id_text)
    for message_id, name, where in ids:
        if where == path and name not in kinds and name not in body:
            complaints.append(f"{path}: {name} is used by no line")
    return lines


def steps_of(path, function):
    """Of a function that is handed the step: what its callers hand it."""
    name = re.search(r"^\w[^(]*\b(\w+)\(", function).group(1)
    directory, found = path.split("/")[0], []
    for file in sorted(os.listdir(os.path.join(ROOT, directory))):
        if file.endswith(".c"):
            text = open(os.path.join(ROOT, directory, file), encoding="utf-8").read()
            found += re.findall(rf'\b{name}\(\s*\w+,\s*"(\w+)"', text)
    return sorted(set(found))


def read_catalog(complaints):
    entries = {}
    for block in re.split(r"^-- ", open(os.path.join(ROOT, CATALOG), encoding="utf-8").read(), flags=re.M)[1:]:
        message_id, _, rest = block.partition("\n")
        head, _, body = rest.partition("\n\n")
        headers = dict(line.split(": ", 1) for line in head.splitlines() if ": " in line)
        body = "\n".join(line for line in body.strip().splitlines() if not line.startswith("#"))
        if message_id in entries:
            complaints.append(f"{CATALOG}: {message_id} is there twice")
        for wanted in HEADERS:
            if not headers.get(wanted):
                complaints.append(f"{CATALOG}: {message_id} has no {wanted}: line")
        if not body:
            complaints.append(f"{CATALOG}: {message_id} does not say what it means")
        entries[message_id] = (headers, body)
    return entries


def check(lines, ids, entries, complaints):
    seen = {}
    for message_id, name, path in ids:
        if message_id in seen:
            complaints.append(f"{path}: {name} has the MESSAGE_ID of {seen[message_id]}: make one with systemd-id128 new")
        seen[message_id] = f"{name} in {path}"
        if message_id not in entries:
            complaints.append(f'{CATALOG}: no entry "-- {message_id}" for {name} of {path}')
    for message_id, (_, body) in entries.items():
        if message_id not in seen:
            complaints.append(f"{CATALOG}: {message_id} is logged by nobody")
        for line in lines:
            if line.id != message_id:
                continue
            missing = set(re.findall(r"@(\w+)@", body)) - set(line.fields) - {OWNER[line.directory]}
            for field in sorted(missing):
                complaints.append(f'{CATALOG}: {message_id} says @{field}@, and the line "{line.sentence}" has no such field')
            if line.steps and not set(line.steps) <= set(re.findall(r"\w+", body)) and "Step @COMPOZY_STEP@ of" in body:
                missing = sorted(set(line.steps) - set(re.findall(r"\w+", body)))
                complaints.append(f"{CATALOG}: {message_id} does not list the step {', '.join(missing)}")


def check_by_journalctl(entries, complaints):
    if not shutil.which("journalctl"):
        print("messages: no journalctl here, so the catalog was not compiled", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as root:
        os.makedirs(os.path.join(root, "usr/lib/systemd/catalog"))
        os.makedirs(os.path.join(root, "var/lib/systemd/catalog"))
        shutil.copy(os.path.join(ROOT, CATALOG), os.path.join(root, "usr/lib/systemd/catalog"))
        made = subprocess.run(["journalctl", "--root", root, "--update-catalog"], capture_output=True, text=True)
        listed = subprocess.run(["journalctl", "--root", root, "--list-catalog"], capture_output=True, text=True)
        found = {line.split()[0] for line in listed.stdout.splitlines()}
        if made.returncode != 0 or made.stderr.strip() or found != set(entries):
            complaints.append(f"{CATALOG}: journalctl --update-catalog: {made.stderr.strip() or 'entries were lost'}")


INTRODUCTION = """# What the daemons log

Made from the code and from `systemd/compozy.catalog` by `tests/lint/messages.py --write`; how to read the journal is in
`operations.md`.

Each line that somebody acts on has a `MESSAGE_ID`: `journalctl MESSAGE_ID=…` finds its kind, `journalctl -x` explains it. Every line has
`COMPOZY_DISPATCHER_ID` or `COMPOZY_RUNTIME_ID`, whosever journal it is in. Limited lines come a few times in ten seconds at most (five of a kind; two
hundred where each is about another runtime or agent); then one with `COMPOZY_LEFT_OUT` says how many more there were. At `log.level=debug` those come with
priority debug instead.
"""


def documentation(lines, entries):
    text = [INTRODUCTION]
    for directory in ("dispatcherd", "runtimed", "common"):
        mine = [(i, e) for i, e in entries.items() if any(line.id == i and line.directory == directory for line in lines)]
        name = DAEMON[directory]
        text.append(f"## {name[0].upper() + name[1:] if directory == 'common' else '`' + name + '`'}\n")
        for message_id, (headers, body) in mine:
            text.append(f"### {headers['Subject']}\n")
            text.append(f"`MESSAGE_ID={message_id}`\n")
            text.append("| level | line | fields |\n| --- | --- | --- |")
            for line in lines:
                if line.id == message_id:
                    fields = " ".join(f"`{field}`" for field in line.fields if field != OWNER[directory]) or "–"
                    limited = ", limited" if line.is_limited else ""
                    text.append(f"| {line.level}{limited} | {line.sentence.replace('|', chr(92) + '|')} | {fields} |")
            shown = re.sub(r"@(\w+)@", r"`\1`", body)
            text.append("\n" + shown + "\n")
    return "\n".join(text).rstrip() + "\n"


def main():
    complaints, lines, ids = [], [], []
    for directory in OWNER:
        for name in sorted(os.listdir(os.path.join(ROOT, directory))):
            if name.endswith(".c") and (directory, name) != ("common", "log.c"):
                lines += read_file(f"{directory}/{name}", ids, complaints)
    if "--steps" in sys.argv:
        for line in lines:
            for step in line.steps:
                print(line.id, step)
        return 0
    entries = read_catalog(complaints)
    check(lines, ids, entries, complaints)
    if not complaints:
        check_by_journalctl(entries, complaints)
    wanted = "" if complaints else documentation(lines, entries)
    path = os.path.join(ROOT, DOCS)
    if "--write" in sys.argv and not complaints:
        open(path, "w", encoding="utf-8").write(wanted)
    elif not complaints and (not os.path.exists(path) or open(path, encoding="utf-8").read() != wanted):
        complaints.append(f"{DOCS} is not what the code and the catalog say: tests/lint/messages.py --write")
    for complaint in complaints:
        print(f"messages: {complaint}", file=sys.stderr)
    if not complaints:
        print(f"messages: ok ({len(lines)} lines, {len(entries)} message ids)")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
