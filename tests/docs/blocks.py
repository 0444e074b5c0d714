# SPDX-License-Identifier: MIT
"""
Runs what a page of the documentation tells its reader to type.

A fenced block "sh" is typed, in order, into one shell; a block "console" behind it is what it prints, where "…" stands for anything within a
line, a line "…" for any lines, and white space for any white space. A block "text" is a picture. Other fences, and commands that are merely indented, are not allowed in
such a page: what can't be run can't be checked.

A reader is slow, and looks again when something is not there yet. So a block that only asks (QUESTIONS) is run again until it prints what
the page shows, for as long as `patience`.
"""

import base64
import os
import re
import selectors
import subprocess
import time

QUESTIONS = re.compile(r"(compozyctl (status|runtimes|agents|why|(agent|runtime) show|agent subscriptions|events)|systemctl (status|show|is-active)|journalctl|curl|cat|tail|grep|sed|ls)\b")
JOB_NOISE = re.compile(r"^.*: line \d+: +\d+ (Killed|Terminated|Stopped|Aborted)\b.*\n", re.MULTILINE)

PRELUDE = """
trap '__failed="$BASH_COMMAND"' ERR
__run() {
        __failed= __out=$(mktemp)
        eval "$(base64 -d <<<"$1")" >"$__out" 2>&1
        printf '@@@ %s %s\\n' "$(base64 -w0 <"$__out")" "$(base64 -w0 <<<"$__failed")"
        rm -f "$__out"
}
set -E
"""


class Wrong(Exception):
    pass


class Block:
    def __init__(self, path, line, text):
        self.path, self.line, self.text = path, line, text
        self.expected = None

    def __str__(self):
        return f"{os.path.relpath(self.path)}:{self.line}"

    def only_asks(self):
        lines = [line.strip() for line in self.text.splitlines() if line.strip() and not line.strip().startswith("#")]
        return bool(lines) and all(QUESTIONS.match(line) and ">" not in line for line in lines)


def read(path):
    """The blocks of a page. Wrong: it has something that can't be run."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    blocks = []
    for match in re.finditer(r"^```(.*)\n((?:.*\n)*?)```[ ]*$", text, re.MULTILINE):
        kind, body, line = match[1].strip(), match[2], text.count("\n", 0, match.start()) + 1
        if kind == "sh":
            blocks.append(Block(path, line, body))
        elif kind == "text":
            continue
        elif kind == "console" and blocks and blocks[-1].expected is None:
            blocks[-1].expected = body
        else:
            raise Wrong(f"{path}:{line}: a block \"{kind}\": only sh, and one console after it, can be checked")
    outside = re.sub(r"^```.*\n(?:.*\n)*?```[ ]*$", lambda match: "\n" * match[0].count("\n"), text, flags=re.MULTILINE)
    for number, line in enumerate(outside.splitlines(), 1):
        if re.match(r"(    |\t)\s*(\$ |#|[a-z./-]+ |[A-Z_]+=)", line):
            raise Wrong(f"{path}:{number}: looks like a command, and is in no block: {line.strip()}")
    return blocks


def pattern_of(expected):
    """A regular expression for what a block is to print."""

    def of_line(line):
        words = [".*".join(re.escape(part) for part in word.split("…")) for word in line.split()]
        return r"\s+".join(words)

    parts = []
    for line in expected.strip().splitlines():
        parts.append("(?:.*\n)*?" if line.strip() == "…" else rf"[^\S\n]*{of_line(line)}[^\S\n]*\n")
    return re.compile("".join(parts))


class Shell:
    """A bash that runs one block after the other. `command`: what starts it."""

    def __init__(self, command, **options):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options)
        self._rest = b""
        self._say(PRELUDE)

    def _say(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def _line(self, timeout):
        deadline = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._rest:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise Wrong(f"no end within {timeout:.0f} s")
                data = os.read(self.process.stdout.fileno(), 65536)
                if not data:
                    raise Wrong("the shell ended")
                self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def run(self, text, timeout=60.0):
        """(what it printed, the command that failed or "")"""
        self._say(f"__run {base64.b64encode(text.encode()).decode()}\n")
        words = self._line(timeout).split(" ")
        output, failed = (base64.b64decode(word).decode(errors="replace") for word in words[1:])
        return JOB_NOISE.sub("", output), failed.strip()

    def check(self, block, patience=15.0, timeout=60.0):
        """Wrong: it failed, or did not print what the page shows."""
        deadline = time.monotonic() + patience
        while True:
            try:
                output, failed = self.run(block.text, timeout)
            except Wrong as why:
                raise Wrong(f"{block}: {why}\n{block.text}") from None
            is_right = not failed and (block.expected is None or pattern_of(block.expected).fullmatch(output.rstrip() + "\n"))
            if is_right:
                return output
            if not block.only_asks() or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        shown = f"\nthe page shows\n{block.expected}" if block.expected is not None else ""
        raise Wrong(f"{block}: {'failed: ' + failed if failed else 'prints something else'}\n{block.text}prints\n{output}{shown}")

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
