# SPDX-License-Identifier: MIT
"""What the README and the tutorials tell their reader to type, typed. The one about systemd is run by tests/systemd/."""

import os
import subprocess
import sys
import tempfile
import unittest
from xml.etree import ElementTree

from harness import BIN, ROOT, TIME_SCALE, NATS_SERVER

sys.path.insert(0, os.path.join(ROOT, "tests", "docs"))

import blocks  # noqa: E402

# A network of its own, so that the ports of the pages are free, and an end of all that was started.
NAMESPACE = ["unshare"] + ([] if os.geteuid() == 0 else ["--map-root-user"]) + ["--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
LOOPBACK_UP = ("import fcntl, os, socket, struct, sys; "
               "fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sH14x', b'lo', 0x41)); os.execvp(sys.argv[1], sys.argv[1:])")


def can_isolate():
    command = NAMESPACE + [sys.executable, "-c", LOOPBACK_UP, "true"]
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0


@unittest.skipUnless(can_isolate(), "no network namespace can be made here")
class Docs(unittest.TestCase):
    waits = True
    bound = 240.0  # make demo may have something to build

    def page(self, name, in_tree=False):
        page = blocks.read(os.path.join(ROOT, name))
        with tempfile.TemporaryDirectory(prefix="compozy-docs-", ignore_cleanup_errors=True) as home:
            environment = {"HOME": home, "TERM": "dumb", "LANG": "C.UTF-8", "TMPDIR": home,
                           "PATH": os.pathsep.join([BIN, os.path.dirname(NATS_SERVER), os.environ["PATH"]])}
            shell = blocks.Shell(NAMESPACE + [sys.executable, "-c", LOOPBACK_UP, "bash", "--norc"], cwd=ROOT if in_tree else home,
                                 env=environment, start_new_session=True)
            try:
                for block in page:
                    shell.check(block, patience=30 * TIME_SCALE, timeout=150 * TIME_SCALE)
            except blocks.Wrong as error:
                self.fail(str(error))
            finally:
                shell.close()

    def test_what_the_readme_says_is_true(self):
        self.page("README.md", in_tree=True)

    def test_what_the_examples_say_is_true(self):
        self.page("examples/README.md", in_tree=True)
        self.page("examples/exec/README.md", in_tree=True)

    def test_the_tutorial_about_an_agent_in_python_works(self):
        self.page("docs/tutorials/agent.md")

    def test_the_tutorial_about_failover_and_drain_works(self):
        self.page("docs/tutorials/failover.md")


class Recording(unittest.TestCase):
    def test_the_recording_is_one_small_file_that_asks_for_nothing_else(self):
        path = os.path.join(ROOT, "docs", "demo.svg")
        self.assertLess(os.path.getsize(path), 200 * 1024)
        names = set()
        for element in ElementTree.parse(path).iter():
            names.add(element.tag.rpartition("}")[2])
            for name, value in element.attrib.items():
                self.assertFalse(name.endswith("href") and not value.startswith("#"), value)
        self.assertEqual(names, {"svg", "style", "rect", "circle", "defs", "g", "text", "use"})


class Blocks(unittest.TestCase):
    """The runner itself: what is not as the page says is found."""

    def run_page(self, text):
        with tempfile.NamedTemporaryFile("w", suffix=".md", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            page = blocks.read(file.name)
        shell = blocks.Shell(["bash", "--norc"])
        try:
            for block in page:
                shell.check(block, patience=0.5 * TIME_SCALE)
        finally:
            shell.close()

    def test_blocks_of_a_page_share_a_shell_and_their_output_is_compared(self):
        self.run_page("```sh\nx=5\nsleep 60 & \n```\ntext\n```sh\nkill $!\ncat <<'END'\nx  is\n  many\nlines\n7 END\nEND\necho $x\n```\n"
                      "```console\nx is\n…\n7 E…\n5\n```\n")

    def test_a_command_that_fails_another_output_and_what_cannot_be_run_are_refused(self):
        for text in ("```sh\nfalse\ntrue\n```\n", "```sh\necho a\n```\n```console\nb\n```\n", "```sh\necho a; echo b\n```\n```console\na\n```\n",
                     "```sh\necho '(a)'\n```\n```console\na\n```\n", "```python\nx\n```\n", "```console\nx\n```\n", "do\n\n    make it\n"):
            with self.assertRaises(blocks.Wrong, msg=text):
                self.run_page(text)
