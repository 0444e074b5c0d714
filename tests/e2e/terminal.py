# SPDX-License-Identifier: MIT
"""compozyctl on a terminal: a pty whose other end a test reads."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time

from harness import BIN, SANITIZER, scaled


class Terminal:
    """compozyctl with a terminal of so many columns as its stderr, or as all it has."""

    def __init__(self, case, *words, columns=100, whole=False):
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        environment = {**os.environ, "HOME": case.world.directory, "NATS_URL": case.world.nats.url, "TERM": "xterm"}
        self.master = master
        self.process = subprocess.Popen([os.path.join(BIN, "compozyctl"), *map(str, words)], env=environment, stdin=slave if whole else None,
                                        stdout=slave if whole else subprocess.PIPE, stderr=slave, start_new_session=True)
        os.close(slave)
        self.shown = ""

    def read_until(self, condition, timeout=20.0):
        """What was shown by the time that the condition holds for it; None: until its end."""
        deadline = time.monotonic() + scaled(timeout)
        while condition is None or not condition(self.shown):
            left = deadline - time.monotonic()
            if left <= 0:
                raise AssertionError(f"not within {scaled(timeout):.0f} s; shown so far: {self.shown[-1000:]!r}")
            if not select.select([self.master], [], [], left)[0]:
                continue
            try:
                data = os.read(self.master, 65536)
            except OSError:
                data = b""
            if not data:
                if condition is None:
                    break
                raise AssertionError(f"it ended with {self.process.wait(scaled(10))}; it has shown {self.shown[-1000:]!r}")
            self.shown += data.decode(errors="replace")
        return self.shown

    def end(self):
        """(exit status, stdout)"""
        self.read_until(None)
        out = self.process.stdout.read().decode() if self.process.stdout else ""
        status = self.process.wait(scaled(10))
        os.close(self.master)
        if SANITIZER.search(self.shown):
            raise AssertionError(f"compozyctl: {self.shown}")
        return status, out
