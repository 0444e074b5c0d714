#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Holds the manual pages to what they describe. usage: man.py BIN-DIR MAN-DIR

Keys, options and commands come from the programs themselves (docs/man/expand.py); here is what could still be forgotten: a section of keys that no
page shows, a name of the plugins' ABI, an exit status, a key that is named somewhere and does not exist; and what man(1) complains about.
"""

import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
TEMPLATES = os.path.join(ROOT, "docs", "man")
sys.path.insert(0, TEMPLATES)
import expand  # noqa: E402

DAEMONS = ["compozy-dispatcherd", "compozy-runtimed"]
# Names with a dot that look like a key of ours and are none: fields of definitions and messages, files.
NOT_KEYS = re.compile(r"\.(?:md|json|conf|service|target|py|c|h|so|db|d|id|exec_id|log|creds|nkey|ca|cert|key|credentials|scd|in)$"
                      r"|^limits\.(?:memory_bytes|open_files|cpu_seconds|file_bytes)$")
complaints = []


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as file:
        return file.read()


def check_keys(directory):
    known = set()
    for program in DAEMONS:
        found = expand.keys(expand.help_of(directory, program))
        known |= {f"{section}.{name}" for section, name, *_ in found}
        page = f"docs/man/{program}.conf.5.scd.in"
        shown = re.findall(rf"^@KEYS {program} (\w+)@$", read(page), re.M)
        for section in sorted({section for section, *_ in found} | set(shown)):
            if shown.count(section) != 1 or not any(section == where for where, *_ in found):
                complaints.append(f'{page}: the line "@KEYS {program} {section}@" should be there once, under "# [{section}]", if and only if '
                                  f"{program} has keys in [{section}]")
        if len(found) < 20:
            complaints.append(f"{program} --help: only {len(found)} keys could be read: is its form another one?")
    sections = "|".join(sorted({key.partition(".")[0] for key in known}))
    files = [f"docs/man/{name}" for name in sorted(os.listdir(TEMPLATES)) if name.endswith(".in")] + ["systemd/compozy.catalog", "README.md"]
    files += [f"docs/{name}" for name in sorted(os.listdir(os.path.join(ROOT, "docs"))) if name.endswith(".md")]
    for path in files:
        for number, line in enumerate(read(path).splitlines(), 1):
            for key in re.findall(rf"(?<![\w./<{{@-])((?:{sections})\.[a-z][a-z_]+)(?![\w(./*-])", line):
                if key not in known and not NOT_KEYS.search(key) and not re.match(r"(events|agent|metrics)\.\w+$", key):
                    complaints.append(f"{path}:{number}: there is no key {key}")


def check_behavior():
    header = re.sub(r"/\*.*?\*/", "", read("compozy", "behavior.h"), flags=re.S)
    page = read("docs", "man", "compozy-behavior.3.scd.in")
    host = re.search(r"struct compozy_host \{(.*?)\n\};", header, re.S).group(1)
    names = set(re.findall(r"\bCOMPOZY_[A-Z_]+\b", header)) - {"COMPOZY_BEHAVIOR_H"}
    names |= set(re.findall(r"\bcompozy_\w+\b", header)) | set(re.findall(r"\(\*(\w+)\)", host))
    for structure in ("compozy_message", "compozy_start"):
        body = re.search(rf"typedef struct {structure} \{{(.*?)\n\}}", header, re.S).group(1)
        for members in re.findall(r"^\s+(?:const )?\w+ ([^;()]+);", body, re.M):
            names |= {member.strip(" *") for member in members.split(",")} - {"size", "reserved"}
    words = {word.strip("_") for word in re.findall(r"\w+", page)}
    for name in sorted(names - words):
        complaints.append(f"docs/man/compozy-behavior.3.scd.in: {name} of compozy/behavior.h is missing")
    for name in sorted({word for word in words if word.startswith("COMPOZY_") or re.match(r"compozy_[a-z]", word)} - names):
        complaints.append(f"docs/man/compozy-behavior.3.scd.in: {name} is not in compozy/behavior.h")


def check_exits():
    page = read("docs", "man", "compozyctl.1.scd.in").partition("# EXIT STATUS")[2].partition("\n# ")[0]
    shown = set(re.findall(r"^\*(\d+)\*$", page, re.M))
    wanted = set(re.findall(r"CTL_EXIT_\w+ = (\d+)", read("ctl", "command.h")))
    if shown != wanted:
        complaints.append(f"docs/man/compozyctl.1.scd.in: EXIT STATUS lists {sorted(shown)}, ctl/command.h has {sorted(wanted)}")


def check_environment():
    daemons = ["docs/man/compozy-dispatcherd.8.scd.in", "docs/man/compozy-runtimed.8.scd.in"]
    where = {"ctl": ["docs/man/compozyctl.1.scd.in"], "common": daemons, "dispatcherd": daemons[:1], "runtimed": daemons[1:]}
    for directory, pages in where.items():
        for name in sorted(os.listdir(os.path.join(ROOT, directory))):
            found = set(re.findall(r'getenv\("(\w+)"\)', read(directory, name))) - {"HOME"} if name.endswith(".c") else ()
            for variable in sorted(found):
                for page in pages:
                    if f"*{variable}*" not in read(page).partition("# ENVIRONMENT")[2].partition("\n# ")[0]:
                        complaints.append(f"{page}: ENVIRONMENT does not name {variable}, which {directory}/{name} reads")


def check_http():
    paths = re.findall(r'strcmp\(path, "(/\w*)"\)', read("common", "http.c"))
    for program in DAEMONS:
        page = f"docs/man/{program}.8.scd.in"
        shown = re.findall(r"^\*(/\w*)\*$", read(page).partition("# HTTP")[2].partition("\n# ")[0], re.M)
        if not paths or sorted(shown) != sorted(paths):
            complaints.append(f"{page}: HTTP names {sorted(shown)}, common/http.c has {sorted(paths)}")


def check_pages(directory):
    pages = {name.removesuffix(".scd.in") for name in os.listdir(TEMPLATES) if name.endswith(".scd.in")}
    for name in sorted(pages):
        source = read("docs", "man", name + ".scd.in")
        for other, section in set(re.findall(r"\*(compozy[\w.-]*)\*\((\d)\)", source)):
            if f"{other}.{section}" not in pages:
                complaints.append(f"docs/man/{name}.scd.in: there is no {other}({section})")
        if not shutil.which("man"):
            print("man: no man(1) here, so nobody has read the pages", file=sys.stderr)
            continue
        done = subprocess.run(["man", "-l", "--warnings", os.path.join(directory, name)], capture_output=True, text=True, check=False,
                              env=dict(os.environ, MANPAGER="cat", MANWIDTH="100", LC_ALL="C.UTF-8"))
        if done.returncode != 0 or done.stderr.strip():
            complaints.append(f"{name}: man --warnings: {done.stderr.strip()}")
        if "@KEYS" in done.stdout or "NAME" not in done.stdout:
            complaints.append(f"{name}: a line of the template was not understood")


def main():
    check_keys(sys.argv[1])
    check_behavior()
    check_exits()
    check_environment()
    check_http()
    check_pages(sys.argv[2])
    for complaint in complaints:
        print(f"man: {complaint}", file=sys.stderr)
    if not complaints:
        print("man: ok")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
