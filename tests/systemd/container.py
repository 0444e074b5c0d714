# SPDX-License-Identifier: MIT
"""
A small Debian with systemd, booted by systemd-nspawn, that forgets everything when it is closed.

    tree = container.Tree("bookworm")        # made once by debootstrap, under build/systemd/
    with container.Container(tree) as box:
        box.put("/etc/compozy/dispatcherd.conf", "[log]\\nlevel = debug\\n")
        box.boot()
        box.run("systemctl", "start", "compozy-dispatcherd")
        print(box.output("journalctl", "-u", "compozy-dispatcherd"))
        with box.network():                  # what this thread connects to meanwhile is in there
            client = natsclient.Client("nats://127.0.0.1:4222")
        box.reboot()

It has a network of its own with nothing but a loopback interface (`network=True`: this machine's, to install packages from), and a
tree that is an overlay over the cached one. Whatever is started ends with this process. As root only; why_not() says why it can't
work here. Commands are run with nsenter(1) in the container's namespaces, as nothing but its own systemd is needed then.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
CACHE = os.path.join(ROOT, "build", "systemd")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CLONE_NEWNET = 0x40000000
BOOTED = ("running", "degraded")

_libc = ctypes.CDLL(None, use_errno=True)


class Trouble(Exception):
    pass


def why_not():
    """Why no container can be booted here; None: one can."""
    if os.geteuid() != 0:
        return "not root"
    for program, package in (("debootstrap", "debootstrap"), ("systemd-nspawn", "systemd-container"), ("nsenter", "util-linux")):
        if not shutil.which(program):
            return f"no {program} (package {package})"
    with open("/proc/filesystems", encoding="ascii") as file:
        if not any(line.split()[-1] == "overlay" for line in file) and not _succeeds("modprobe", "overlay"):
            return "this kernel has no overlay file system"
    if not _succeeds("unshare", "--mount", "--net", "--pid", "--fork", "--ipc", "--uts", "true"):
        return "namespaces may not be made here"
    if not _cgroup_places():
        return "no control groups of systemd's kind are mounted"
    with tempfile.TemporaryDirectory() as probe:
        for place in _cgroup_places():
            try:
                os.mkdir(os.path.join(place, os.path.basename(probe)))
                os.rmdir(os.path.join(place, os.path.basename(probe)))
            except OSError as error:
                return f"control groups can't be made here: {error}"
    return None


def host_suite():
    """The Debian release of this machine."""
    with open("/etc/os-release", encoding="utf-8") as file:
        for line in file:
            if line.startswith("VERSION_CODENAME="):
                return line.split("=", 1)[1].strip().strip('"')
    return None


def _succeeds(*command):
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0


def _cgroup_places():
    """The directories of this process's control group where systemd keeps its own: cgroup2, and version 1's name=systemd."""
    mounts, places = {}, []
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        for line in file:
            head, _, tail = line.partition(" - ")
            kind, _, options = tail.split()[:3]
            if kind == "cgroup2":
                mounts[""] = head.split()[4]
            elif kind == "cgroup" and "name=systemd" in options.split(","):
                mounts["name=systemd"] = head.split()[4]
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        for line in file:
            _, name, path = line.rstrip("\n").split(":", 2)
            if name in mounts:
                places.append(os.path.normpath(mounts[name] + path))
    return places


class Tree:
    """
    The cached tree of one Debian release. `directory`: where else than under build/systemd/.

    `base` is a directory with systemd and what the programs need; `build`, over it, has a compiler.
    """

    def __init__(self, suite=None, directory=None):
        self.suite = suite or host_suite()
        self.directory = directory or os.path.join(CACHE, self.suite)
        self.base = os.path.join(self.directory, "base")
        self._layer = os.path.join(self.directory, "build")

    def make(self, layer="base"):
        """Minutes, the first time."""
        done = subprocess.run([os.path.join(HERE, "make-tree.sh"), self.suite, self.directory, layer], check=False)
        if done.returncode != 0:
            raise Trouble(f"no tree of Debian {self.suite}")
        return self

    def install_into(self, destination, source=ROOT, prefix="/usr"):
        """
        `make install` with DESTDIR. What is in build/bin is built for this machine's release; for another one it is built from
        `source` with that tree's compiler, in a directory that stays for the next time.
        """
        destination = os.path.abspath(destination)
        if self.suite == host_suite():
            _make(["make", "-C", source, "install", f"PREFIX={prefix}", f"DESTDIR={destination}"])
            return
        self.make("build")
        place = os.path.join(self.directory, "source")
        os.makedirs(place, exist_ok=True)
        copy = ("cd \"$1\" && git ls-files -z --cached --others --exclude-standard | tar --null -cf - --files-from=- --ignore-failed-read"
                " 2>/dev/null | tar -C \"$2\" -xf -")
        subprocess.run(["bash", "-c", copy, "sh", source, place], check=True)
        # In namespaces of its own, so that nothing stays mounted.
        script = ("mount -t overlay overlay -o \"lowerdir=$1:$2,upperdir=$3/up,workdir=$3/work\" \"$3/root\" && mount --bind \"$4\" \"$3/root/mnt\""
                  " && mkdir -p \"$5\" \"$3/root/media\" && mount --bind \"$5\" \"$3/root/media\" && mount -t proc proc \"$3/root/proc\""
                  " && exec chroot \"$3/root\" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin make -C /mnt -j\"$6\" install PREFIX=\"$7\" DESTDIR=/media")
        with tempfile.TemporaryDirectory(dir=self.directory) as work:
            for name in ("up", "work", "root"):
                os.mkdir(os.path.join(work, name))
            _make(["unshare", "--mount", "--pid", "--fork", "sh", "-c", script, "sh", self._layer, self.base, work, place, destination,
                   str(os.cpu_count() or 1), prefix])


def _make(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise Trouble(f"make install failed:\n{done.stdout[-3000:]}")


class Container:
    """
    One machine. `layers`: directories that lie over the tree, the first on top. `network`: it shares this machine's network, for apt.
    """

    def __init__(self, tree, name="box", layers=(), network=False):
        self.tree, self.name, self.shares_network = tree, name, network
        self._lower = list(layers) + [tree.base]
        self.directory = tempfile.mkdtemp(prefix="run-", dir=tree.directory)
        self.upper = os.path.join(self.directory, "upper")  # what differs from the tree, also before boot()
        self.console = os.path.join(self.directory, "console")
        self._unique = os.path.basename(self.directory)
        self._cgroups = [os.path.join(place, f"compozy-{os.getpid()}-{self._unique}") for place in _cgroup_places()]
        self._nspawn = self.leader = None
        for name in ("upper", "work", "root"):
            os.mkdir(os.path.join(self.directory, name))
        # With an id there is no "first boot", which would enable whatever Debian enables. A directory makes the journal outlive boots.
        self._write("/etc/machine-id", uuid.uuid4().hex.encode() + b"\n", 0o444)
        os.makedirs(self.upper + "/var/log/journal")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # files

    def _write(self, path, data, mode):
        target = self.upper + path
        self._make_directories(os.path.dirname(path))
        with open(target, "wb") as file:
            file.write(data)
        os.chmod(target, mode)

    def _make_directories(self, path):
        """In the upper layer, with the modes and owners of the tree below; /lib and the like are links there, and stay."""
        at = "/"
        for part in [part for part in path.split("/") if part]:
            above = self.upper + at + part
            below = [lower + at + part for lower in self._lower if os.path.lexists(lower + at + part)]
            if below and os.path.islink(below[0]):
                raise Trouble(f"{at}{part} is a link in the tree: write to where it leads")
            if not os.path.isdir(above):
                os.mkdir(above, 0o755)
                if below:
                    shutil.copystat(below[0], above)
                    os.chown(above, os.stat(below[0]).st_uid, os.stat(below[0]).st_gid)
            at += part + "/"

    def put(self, path, content, mode=0o644):
        """A file (str, bytes), with its directories; also before boot()."""
        data = content.encode() if isinstance(content, str) else content
        if self.leader is None:
            self._write(path, data, mode)
        else:
            self.run("install", "-D", "-m", f"{mode:o}", "/dev/stdin", path, input=data)

    def copy_in(self, source, path, mode=None):
        with open(source, "rb") as file:
            self.put(path, file.read(), os.stat(source).st_mode & 0o777 if mode is None else mode)

    # life

    def boot(self, timeout=60.0):
        """Until systemd says that it is up."""
        for place in self._cgroups:
            os.makedirs(place, exist_ok=True)
        options = f"lowerdir={':'.join(self._lower)},upperdir={self.directory}/upper,workdir={self.directory}/work"
        join = "".join(f"echo $$ > {place}/cgroup.procs && " for place in self._cgroups)
        script = f"{join}mount -t overlay overlay -o '{options}' '{self.directory}/root' && exec \"$@\""
        command = ["systemd-nspawn", "--quiet", f"--directory={self.directory}/root", f"--machine={self.name}", "--boot", "--register=no",
                   "--keep-unit", "--link-journal=no", "--resolv-conf=" + ("copy-host" if self.shares_network else "off"),
                   "--console=read-only"] + ([] if self.shares_network else ["--private-network"])
        # The legacy hierarchies are gone from newer systemds; where this machine has them, they are not for the container.
        environment = dict(os.environ, SYSTEMD_NSPAWN_UNIFIED_HIERARCHY="1")
        with open(self.console, "ab") as console:
            self._nspawn = subprocess.Popen(["unshare", "--mount", "sh", "-c", script, "sh"] + command, stdin=subprocess.DEVNULL,
                                            stdout=console, stderr=console, env=environment, preexec_fn=_die_with_parent)
        deadline = time.monotonic() + timeout
        state = ""
        while state not in BOOTED:
            if self._nspawn.poll() is not None or time.monotonic() > deadline:
                raise Trouble(f"the container did not boot ({state or 'no systemd yet'}):\n{self._console_end()}")
            time.sleep(0.05)
            self.leader = self.leader or self._find_leader()
            if self.leader:
                state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return self

    def _console_end(self):
        with open(self.console, "rb") as file:
            return file.read()[-3000:].decode(errors="replace")

    def _find_leader(self):
        """Its process 1: the child of nspawn that is first in a pid namespace."""
        try:
            with open(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children", encoding="ascii") as file:
                children = file.read().split()
            for child in children:
                with open(f"/proc/{child}/status", encoding="ascii") as file:
                    numbers = next(line for line in file if line.startswith("NSpid:")).split()
                with open(f"/proc/{child}/comm", encoding="ascii") as file:
                    if numbers[-1] == "1" and file.read().strip() == "systemd":
                        return int(child)
        except (OSError, StopIteration):
            pass
        return None

    def _wait_end(self, timeout):
        try:
            status = self._nspawn.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Trouble(f"the container did not end within {timeout:.0f} s:\n{self._console_end()}") from None
        self._nspawn = self.leader = None
        return status

    def poweroff(self, timeout=120.0):
        """In good order: every unit is stopped."""
        self._nspawn.send_signal(signal.SIGTERM)  # nspawn asks its systemd to power off
        self._wait_end(timeout)

    def reboot(self, timeout=120.0):
        self.run("systemctl", "reboot", check=False)
        self._wait_end(timeout)
        self.boot()

    def crash(self):
        """As when the power fails: nothing is stopped, nothing is told."""
        self._kill()
        self._wait_end(30)

    def _kill(self):
        """Its process 1, with which the kernel ends all others; nspawn itself would leave it behind."""
        leader = self.leader or self._find_leader()
        if leader:
            os.kill(leader, signal.SIGKILL)
        else:
            self._nspawn.kill()

    def close(self):
        if self._nspawn is not None:
            self._kill()
            self._nspawn.wait(30)
            self._nspawn = self.leader = None
        for place in self._cgroups:
            _remove_cgroup(place)
        shutil.rmtree(self.directory, ignore_errors=True)

    # what happens in there

    def command(self, *arguments):
        """What runs `arguments` in there when it is run out here."""
        return ["nsenter", f"--target={self.leader}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd",
                "env", "-i", f"PATH={PATH}", "LANG=C.UTF-8", "SYSTEMD_PAGER=cat", "SYSTEMD_COLORS=0"] + list(arguments)

    def run(self, *arguments, check=True, input=None, timeout=120.0):
        """A subprocess.CompletedProcess with texts; a failure raises Trouble with what was printed, unless not `check`."""
        data = input.encode() if isinstance(input, str) else input
        done = subprocess.run(self.command(*arguments), input=data if data is not None else b"", stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=timeout, check=False)
        done.stdout, done.stderr = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        if check and done.returncode != 0:
            raise Trouble(f"{' '.join(arguments)}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def output(self, *arguments, **options):
        return self.run(*arguments, **options).stdout

    def shell(self, script, **options):
        return self.output("sh", "-euc", script, **options)

    @contextlib.contextmanager
    def network(self):
        """Meanwhile this thread is in the container's network: sockets made now stay there."""
        with open("/proc/thread-self/ns/net", "rb") as ours, open(f"/proc/{self.leader}/ns/net", "rb") as theirs:
            _setns(theirs)
            try:
                yield
            finally:
                _setns(ours)


def _setns(file):
    if _libc.setns(file.fileno(), CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def _die_with_parent():
    _libc.prctl(1, signal.SIGTERM, 0, 0, 0)  # upon which nspawn powers off; killed, it would leave the container behind


def _remove_cgroup(place):
    """Depth first; processes that were just killed may take a moment to leave."""
    deadline = time.monotonic() + 10
    while os.path.isdir(place):
        for directory, _, _ in os.walk(place, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(directory)
        if time.monotonic() > deadline:
            return
        time.sleep(0.01)
