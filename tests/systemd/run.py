#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Boots a small Debian with systemd, installs what was built, and tests the units in it.

  run.py [--dist bookworm|trixie] [-k WORD]... [MODULE]...

Where no container can be booted (not root, no debootstrap, ...) it says so in one line and succeeds. COMPOZY_SYSTEMD=required
makes that a failure.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import container  # noqa: E402
import world  # noqa: E402


class Result(unittest.TextTestResult):
    """A line per test: its name is a sentence."""

    n_passed = 0

    def startTest(self, test):
        unittest.TestResult.startTest(self, test)
        self.began = time.monotonic()

    def _say(self, verdict, test, text=""):
        name = getattr(test, "_testMethodName", str(test)).removeprefix("test_").replace("_", " ")
        self.stream.writeln(f"  {verdict:7} {name} ({time.monotonic() - getattr(self, 'began', time.monotonic()):.1f} s){text}")
        self.stream.flush()

    def addSuccess(self, test):
        unittest.TestResult.addSuccess(self, test)
        self.n_passed += 1
        self._say("ok", test)

    def addError(self, test, err):
        unittest.TestResult.addError(self, test, err)
        self._say("FAILED", test, "\n" + self.errors[-1][1])

    def addFailure(self, test, err):
        unittest.TestResult.addFailure(self, test, err)
        self._say("FAILED", test, "\n" + self.failures[-1][1])

    def addSkip(self, test, reason):
        unittest.TestResult.addSkip(self, test, reason)
        self._say("skipped", test, f": {reason}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dist", help="the Debian release (default: this machine's)")
    parser.add_argument("-k", action="append", dest="words", metavar="WORD", default=[])
    parser.add_argument("modules", nargs="*")
    arguments = parser.parse_args()

    why = container.why_not()
    if why:
        print(f"check-systemd: skipped: {why}")
        return 1 if os.environ.get("COMPOZY_SYSTEMD") == "required" else 0

    began = time.monotonic()
    world.tree = container.Tree(arguments.dist).make()
    installed = tempfile.mkdtemp(prefix="installed-", dir=world.tree.directory)
    os.chmod(installed, 0o755)  # it becomes the root of a file system
    try:
        world.tree.install_into(installed)
        world.installed = installed
        loader = unittest.TestLoader()
        loader.testNamePatterns = [f"*{word}*" for word in arguments.words] or None
        names = arguments.modules or sorted(name[:-3] for name in os.listdir(HERE) if name.startswith("test_") and name.endswith(".py"))
        suite = unittest.TestSuite(loader.loadTestsFromName(name) for name in names)
        result = Result(unittest.runner._WritelnDecorator(sys.stdout), True, 1)
        suite.run(result)
    finally:
        shutil.rmtree(installed, ignore_errors=True)
    n_failed = len(result.failures) + len(result.errors)
    print(f"check-systemd: Debian {world.tree.suite}: {result.n_passed} passed, {n_failed} failed"
          f"{f', {len(result.skipped)} skipped' if result.skipped else ''} in {time.monotonic() - began:.0f} s")
    return 1 if n_failed or not result.testsRun else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except container.Trouble as trouble:
        print(f"check-systemd: {trouble}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
