# SPDX-License-Identifier: MIT
"""
A program on a pseudo terminal, and what its screen shows: as much of a VT100 as ncurses uses with TERM=vt100.
"""

import fcntl
import os
import pty
import re
import resource
import select
import struct
import subprocess
import termios
import time

import harness

SEQUENCE = re.compile(rb"\x1b\[([?0-9;]*)([A-Za-z])|\x1b([()].|[=>78MDE])|\x1b")


class Screen:
    def __init__(self, arguments, environment, rows=24, columns=80, terminal="vt100"):
        self.master, self.terminal = pty.openpty()
        self.before = termios.tcgetattr(self.terminal)
        self.is_vt100 = terminal == "vt100"  # of others only the bytes are kept
        self.rest = b""
        self.everything = b""
        self.clear(rows, columns)
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            arguments, stdin=self.terminal, stdout=self.terminal, stderr=self.terminal,
            env={**environment, "TERM": terminal, "LC_ALL": "C.UTF-8"}, start_new_session=True, preexec_fn=self.own_terminal)

    def own_terminal(self):
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # some tests crash it

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        os.close(self.master)
        os.close(self.terminal)

    def clear(self, rows, columns):
        self.rows, self.columns, self.x, self.y, self.bottom, self.top = rows, columns, 0, 0, rows - 1, 0
        self.cells = [[" "] * columns for _ in range(rows)]

    def resize(self, rows, columns):
        self.pump(0)
        self.clear(rows, columns)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys):
        os.write(self.master, keys if isinstance(keys, bytes) else keys.encode())

    def pump(self, seconds):
        """Takes what is written within so many seconds."""
        while select.select([self.master], [], [], seconds)[0]:
            try:
                data = os.read(self.master, 65536)
            except OSError:
                return
            self.everything += data
            if self.is_vt100:
                self.feed(self.rest + data)
            seconds = 0

    def text(self):
        return "\n".join("".join(row).rstrip() for row in self.cells)

    def line(self, word):
        """The first line with that word in it."""
        return next((line for line in self.text().split("\n") if word in line), "")

    def wait(self, what, condition, timeout=10.0):
        """Until condition(text) is true."""
        deadline = time.monotonic() + harness.scaled(timeout)
        while not condition(self.text()):
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {timeout} s: {what}\n{self.text()}")
            self.pump(0.05)
        return self.text()

    def wait_for(self, *words, timeout=10.0):
        return self.wait(f"{words} on the screen", lambda text: all(word in text for word in words), timeout)

    def wait_bytes(self, part, timeout=10.0):
        """Until they were written, by whatever terminal's sequences."""
        self.wait(f"{part!r} was written", lambda _: part in self.everything, timeout)

    def wait_exit(self, timeout=10.0):
        deadline = time.monotonic() + harness.scaled(timeout)
        while self.process.poll() is None:
            if time.monotonic() > deadline:
                raise AssertionError(f"it did not end\n{self.text()}")
            self.pump(0.02)
        self.pump(0)
        if harness.SANITIZER.search(self.everything.decode(errors="replace")):
            raise AssertionError(f"{self.process.args}: {self.everything.decode(errors='replace')}")
        return self.process.returncode

    # the terminal

    def feed(self, data):
        at = 0
        while at < len(data):
            byte = data[at]
            if byte == 0x1b:
                found = SEQUENCE.match(data, at)
                if found.end() - at == 1:
                    if len(data) - at < 16:  # the rest comes later
                        break
                    raise AssertionError(f"unknown sequence {data[at:at + 8]!r}")
                self.control(found)
                at = found.end()
                continue
            size = 1 if byte < 0x80 else 2 if byte < 0xe0 else 3 if byte < 0xf0 else 4
            if at + size > len(data):
                break
            self.put(data[at:at + size].decode(errors="replace"))
            at += size
        self.rest = data[at:]

    def put(self, sign):
        if sign == "\r":
            self.x = 0
        elif sign == "\n":
            self.down()
        elif sign == "\b":
            self.x = max(self.x - 1, 0)
        elif sign >= " ":
            if self.x >= self.columns:
                self.x = 0
                self.down()
            if self.y < self.rows:
                self.cells[self.y][self.x] = sign
            self.x += 1

    def down(self):
        if self.y == self.bottom:
            del self.cells[self.top]
            self.cells.insert(self.bottom, [" "] * self.columns)
        else:
            self.y = min(self.y + 1, self.rows - 1)

    def up(self):
        if self.y == self.top:
            del self.cells[self.bottom]
            self.cells.insert(self.top, [" "] * self.columns)
        else:
            self.y = max(self.y - 1, 0)

    def control(self, found):
        final = (found.group(2) or b"").decode()
        numbers = [int(number) for number in re.findall(rb"\d+", found.group(1) or b"")]
        first = numbers[0] if numbers else 0
        if found.group(3) == b"M":
            self.up()
        elif found.group(3) == b"D":
            self.down()
        elif final == "H":
            self.y = min(max(first, 1), self.rows) - 1
            self.x = min(max(numbers[1] if len(numbers) > 1 else 1, 1), self.columns) - 1
        elif final in "ABCD" and final:
            amount = max(first, 1)
            self.y = min(max(self.y + {"A": -amount, "B": amount}.get(final, 0), 0), self.rows - 1)
            self.x = min(max(min(self.x, self.columns - 1) + {"C": amount, "D": -amount}.get(final, 0), 0), self.columns - 1)
        elif final == "r":
            self.top = max(first, 1) - 1
            self.bottom = (numbers[1] if len(numbers) > 1 else self.rows) - 1
            self.x = self.y = 0
        elif final in "JK" and final:
            if first == 1:
                span = [(self.y, x) for x in range(min(self.x + 1, self.columns))]
            else:
                span = [(self.y, x) for x in range(self.x, self.columns)]
                if final == "J":
                    span += [(y, x) for y in range(self.y + 1, self.rows) for x in range(self.columns)]
            for y, x in span:
                self.cells[y][x] = " "
