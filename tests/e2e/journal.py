# SPDX-License-Identifier: MIT
"""
A journal for the daemons under test: the socket of the native protocol (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/) in a directory of
our own, which a mount namespace shows them as /run/systemd/journal. Needs root.
"""

import array
import functools
import os
import shutil
import socket
import struct
import subprocess
import threading

PRIORITIES = {"err": 3, "warning": 4, "notice": 5, "info": 6, "debug": 7}
_IN_NAMESPACE = (
    'mount -t tmpfs none /run && mkdir -p /run/systemd/journal && mount --bind "$1" /run/systemd/journal && shift && exec "$@"')


@functools.cache
def why_not():
    """None, or why there can be no such journal here."""
    if os.geteuid() != 0:
        return "only root can give the daemons a journal of their own"
    if not shutil.which("unshare"):
        return "there is no unshare(1)"
    made = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/run"], capture_output=True, text=True, check=False)
    return None if made.returncode == 0 else f"no mount namespace can be made here: {made.stderr.strip()}"


def decode(data):
    """One entry: {field: text}."""
    entry = {}
    while data:
        line, _, rest = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (size,) = struct.unpack("<Q", rest[:8])
            value, rest = rest[8:8 + size], rest[8 + size + 1:]
        assert name.decode() not in entry, f"{name} is there twice: {data}"
        entry[name.decode()] = value.decode()
        data = rest
    return entry


class Journal:
    def __init__(self, directory):
        self.directory = os.path.join(directory, "journal")
        os.makedirs(self.directory)
        self.lock = threading.Lock()
        self._entries = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.socket.bind(os.path.join(self.directory, "socket"))
        threading.Thread(target=self._receive, daemon=True).start()

    def _receive(self):
        while True:
            try:
                data, ancillary, _, _ = self.socket.recvmsg(1 << 20, socket.CMSG_SPACE(12) + socket.CMSG_SPACE(4))
            except OSError:
                return
            pid = None
            for _, kind, value in ancillary:
                if kind == socket.SCM_CREDENTIALS:
                    pid = struct.unpack("iII", value)[0]
                elif kind == socket.SCM_RIGHTS: # a memfd: the entry is too large for a datagram
                    for fd in array.array("i", value):
                        with os.fdopen(fd, "rb") as file:
                            file.seek(0)
                            data += file.read()
            with self.lock:
                self._entries.append(dict(decode(data), _PID=str(pid)))

    def wrapped(self, command):
        """The command line that starts it with this journal; its pid is the daemon's."""
        return ["unshare", "-m", "sh", "-c", _IN_NAMESPACE, "sh", self.directory, *command]

    def entries(self, **fields):
        """In the order in which they came; like journalctl FIELD=value."""
        with self.lock:
            return [entry for entry in self._entries if all(entry.get(name) == str(value) for name, value in fields.items())]

    def show(self, file, n_entries=60):
        for entry in self.entries()[-n_entries:]:
            fields = " ".join(f"{name[8:].lower()}={value}" for name, value in entry.items() if name.startswith("COMPOZY_"))
            print(f"<{entry.get('PRIORITY')}> {entry.get('SYSLOG_IDENTIFIER')}[{entry['_PID']}]: {entry.get('MESSAGE')} ({fields})"[:400], file=file)

    def close(self):
        self.socket.close()
