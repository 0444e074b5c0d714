#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes a manual page's scdoc(5) source out of its template and of what the programs say of themselves.

usage: expand.py BIN-DIR NAME.SECTION.scd.in

So no key, option or command can be in a program and not in its page, nor the other way round. Lines of a template:

  @OPTIONS PROGRAM@          the options of a daemon, of its --help
  @KEYS PROGRAM SECTION@     the keys of one section of its configuration, likewise
  @CTL OPTIONS@              the options that every command of compozyctl has
  @CTL COMMANDS@             its commands
"""

import json
import os
import re
import subprocess
import sys

KEY = re.compile(r"^  ([a-z]+)\.(\w+)=(\S*) +(.*)$")


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True, env={"PATH": os.environ.get("PATH", "")}).stdout


def plain(text):
    """Text that means nothing to scdoc."""
    text = text.replace("\\", "\\\\")
    text = re.sub(r"[*]", r"\\*", text)
    text = re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", text)
    return re.sub(r"^([#.'|\[\]-])", r"\\\1", text)


def help_of(directory, program):
    return run(os.path.join(directory, program), "--help")


def keys(text):
    """[(section, name, default, sentence, notes)]; notes: what stands in brackets behind the sentence."""
    found = []
    for section, name, default, rest in (KEY.match(line).groups() for line in text.splitlines() if KEY.match(line)):
        notes = []
        while note := re.search(r" \[([^]]*)\]$", rest):
            notes.insert(0, note.group(1))
            rest = rest[:note.start()]
        limits = re.search(r" \(([^()]* to [^()]*|at least [^()]*|yes or no|[a-z]+(?:, [a-z]+)+)\)$", rest)
        if limits:
            notes.insert(0, limits.group(1))
            rest = rest[:limits.start()]
        found.append((section, name, default, rest, notes))
    return found


def note_sentence(note):
    if note == "restart":
        return "A new value takes effect with the next start."
    if note.startswith("$"):
        return f"The environment variable *{note}* takes the place of the default."
    if note.startswith("relative:"):
        return "A relative path lies in *$CREDENTIALS_DIRECTORY*, where the service manager gives one."
    if note == "yes or no":
        return "_yes_ or _no_."
    if "," in note:
        *most, last = (f"_{choice}_" for choice in note.split(", "))
        return f"One of {', '.join(most)} and {last}."
    if " to " in note:
        return "From {} to {}.".format(*note.split(" to "))
    return note[0].upper() + note[1:] + "."


def expand_keys(directory, program, section):
    lines = []
    for where, name, default, sentence, notes in keys(help_of(directory, program)):
        if where != section:
            continue
        lines += [f"*{name}* = " + (f"_{plain(default)}_" if default else ""), f"\t{plain(sentence)}.", ""]
        if notes:
            lines[-1:] = ["\t" + " ".join(note_sentence(note) for note in notes), ""]
    if not lines:
        raise SystemExit(f"expand.py: {program} has no keys in section {section}")
    return lines


def expand_options(directory, program):
    lines = []
    for line in help_of(directory, program).partition("Keys and")[0].splitlines():
        option = re.match(r"^ +(?:(-\w), )?(--[a-z-]+)(?: ([A-Z.=]+))? +(.*)$", line)
        if option:
            letter, name, value, sentence = option.groups()
            value = f" _{value}_" if value else ""
            lines += ["", (f"*{letter}*{value}, " if letter else "") + f"*{name}*{value}", "\t" + plain(sentence[0].upper() + sentence[1:])]
        elif lines and line.startswith(" " * 20):
            lines.append("\t" + plain(line.strip()))
    lines = [line + "." if line.startswith("\t") and not following.startswith("\t") else line
             for line, following in zip(lines, [*lines[1:], ""])]
    return [*lines[1:], ""]


def ctl_option(option):
    value = f" _{option['value']}_" if option["value"] else ""
    letter = f"*-{option['letter']}*{value}, " if option["letter"] else ""
    sentence = plain(option["help"])
    if option["choices"]:
        sentence += ": " + ", ".join(f"_{choice}_" for choice in option["choices"])
    if option["default"]:
        sentence += f" (default: {plain(option['default'])})"
    return [f"{letter}*--{option['name']}*{value}", f"\t{sentence}.", ""]


def ctl_command(command):
    words = "".join(" " + (f"[_{one['name']}_{'...' if one['repeated'] else ''}]" if one["optional"] else
                           f"_{one['name']}_{'...' if one['repeated'] else ''}") for one in command["arguments"])
    lines = [f"## {command['name']}", "", f"*compozyctl {command['name']}*{' [_OPTION_...]' if command['options'] else ''}{words}", "",
             plain(command["summary"]) + ".", ""]
    for paragraph in (command.get("details") or "").split("\n\n"):
        lines += [plain(line) for line in paragraph.splitlines()] + [""] if paragraph else []
    for one in command["arguments"]:
        if one["help"]:
            lines += [f"_{one['name']}_", f"\t{plain(one['help'])}.", ""]
    for option in command["options"]:
        lines += ctl_option(option)
    if command.get("timeout"):
        lines += [f"*--timeout* is {command['timeout']} here.", ""]
    if command.get("example"):
        lines += ["```", *(re.sub("^  ", "", line) for line in command["example"].splitlines()), "```", ""]
    return lines


def expand_ctl(directory, what):
    said = json.loads(run(os.path.join(directory, "compozyctl"), "help", "--json"))
    found = map(ctl_option, said["options"]) if what == "OPTIONS" else map(ctl_command, said["commands"])
    return [line for lines in found for line in lines]


def main():
    directory, template = sys.argv[1:]
    for line in open(template, encoding="utf-8").read().splitlines():
        macro = re.fullmatch(r"@(KEYS|OPTIONS|CTL) ([\w-]+)(?: (\w+))?@", line)
        if not macro:
            lines = [line]
        elif macro.group(1) == "KEYS":
            lines = expand_keys(directory, macro.group(2), macro.group(3))
        elif macro.group(1) == "OPTIONS":
            lines = expand_options(directory, macro.group(2))
        else:
            lines = expand_ctl(directory, macro.group(2))
        print("\n".join(lines))


if __name__ == "__main__":
    main()
