#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Runs the end-to-end tests in parallel processes. A unit is one test, or one class whose tests share a world; each runs in a process of its own.

  run.py [-k WORD]... [-j PROCESSES] [-v] [MODULE]...

-k selects by words in module, class or test name (all of the -k words); -j, or the environment's E2E_JOBS, sets how many units run at once
(2); those that mostly wait run beside them. The last line is "N passed, M failed" (and ", K skipped"). Status 0 if none failed.
"""

import argparse
import json
import os
import selectors
import signal
import sys
import tempfile
import time
import traceback
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import harness  # noqa: E402


class Unit:
    def __init__(self, tests):
        self.tests = tests
        kind = type(tests[0])
        self.waits = getattr(kind, "waits", False)
        self.bound = getattr(kind, "bound", 90.0) * harness.TIME_SCALE
        self.done = {}
        self.pid = self.channel = self.output = None
        self.rest = b""
        self.deadline = 0.0
        self.too_long = False
        self.signals = [(0.0, signal.SIGINT), (10.0 * harness.TIME_SCALE, signal.SIGKILL)]  # seconds past the deadline


class Reporter(unittest.TestResult):
    """In the unit's process: one line of JSON per test, written when it is over."""

    def __init__(self, channel):
        super().__init__()
        self.channel = channel
        self.began = 0.0
        self.verdict, self.text = "ok", ""

    def startTest(self, test):
        super().startTest(test)
        self.began, self.verdict, self.text = time.monotonic(), "ok", ""

    def _note(self, verdict, text):
        if verdict == "FAILED" and self.verdict == "FAILED":
            self.text += text
        elif self.verdict != "FAILED":
            self.verdict, self.text = verdict, text

    def addError(self, test, err):
        super().addError(test, err)
        if not hasattr(test, "_testMethodName"):  # setUpClass or tearDownClass
            self.send(str(test), "FAILED", 0.0, "".join(traceback.format_exception(*err)))
        else:
            self._note("FAILED", "".join(traceback.format_exception(*err)))

    addFailure = addError

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._note("FAILED", f"{subtest.id()}\n" + "".join(traceback.format_exception(*err)))

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._note("skipped", reason)

    def stopTest(self, test):
        super().stopTest(test)
        self.send(test.id(), self.verdict, time.monotonic() - self.began, self.text)

    def send(self, name, verdict, seconds, text):
        line = json.dumps([name, verdict, seconds, text]).encode() + b"\n"
        while line:
            line = line[os.write(self.channel, line):]


def sentence(name):
    return name.rpartition(".")[2].removeprefix("test_").replace("_", " ")


def discover(modules, words):
    suite = unittest.TestSuite()
    loader = unittest.TestLoader()
    for file in sorted(os.listdir(HERE)):
        name = file.removesuffix(".py")
        if file.startswith("test_") and file.endswith(".py") and (not modules or name in modules):
            suite.addTest(loader.loadTestsFromName(name))
    if loader.errors:
        sys.exit("\n".join(loader.errors))
    tests = []

    def flatten(item):
        if isinstance(item, unittest.TestSuite):
            for inner in item:
                flatten(inner)
        elif all(word in item.id() or word in sentence(item.id()) for word in words):
            tests.append(item)

    flatten(suite)
    return tests


def units_of(tests):
    shared = {}
    units = []
    for test in tests:
        if getattr(type(test), "shared", False):
            shared.setdefault(type(test), []).append(test)
        else:
            units.append(Unit([test]))
    units += [Unit(members) for members in shared.values()]
    return sorted(units, key=lambda unit: (not unit.waits, -unit.bound))


def run_unit(unit, channel):
    status = 0
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):  # what a shell ignores for its background jobs, and nohup
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        harness._die_with_parent()
        unittest.TestSuite(unit.tests).run(Reporter(channel))
    except BaseException:  # an interrupt: the world must still be ended
        traceback.print_exc()
        status = 1
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        harness.close_all()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def start(unit, selector):
    unit.output = tempfile.TemporaryFile()
    unit.channel, theirs = os.pipe()
    unit.deadline = time.monotonic() + unit.bound
    sys.stdout.flush()
    unit.pid = os.fork()
    if unit.pid == 0:
        os.dup2(unit.output.fileno(), 1)
        os.dup2(unit.output.fileno(), 2)
        os.close(unit.channel)
        run_unit(unit, theirs)
    os.close(theirs)
    selector.register(unit.channel, selectors.EVENT_READ, unit)


def stop_all(running):
    """Asks every unit's process to end its world, then makes it."""
    for number, patience in ((signal.SIGINT, 10.0), (signal.SIGKILL, 5.0)):
        for unit in running:
            try:
                os.kill(unit.pid, number)
            except ProcessLookupError:
                pass
        deadline = time.monotonic() + patience
        while running and time.monotonic() < deadline:
            for unit in list(running):
                try:
                    if os.waitpid(unit.pid, os.WNOHANG)[0]:
                        running.remove(unit)
                except ChildProcessError:
                    running.remove(unit)
            time.sleep(0.02)


class Account:
    def __init__(self, verbose):
        self.verbose = verbose
        self.counts = {"ok": 0, "FAILED": 0, "skipped": 0}

    def add(self, unit, name, verdict, seconds, text):
        unit.done[name] = verdict
        self.counts[verdict] += 1
        module = name.split(".")[0].removeprefix("test_")
        reason = f" ({text})" if verdict == "skipped" else ""
        print(f"{verdict:8}{seconds:6.1f} s  {module}: {sentence(name)}{reason}", flush=True)
        if verdict == "FAILED":
            print("    " + text.rstrip().replace("\n", "\n    "), flush=True)

    def close(self, unit):
        """The unit's process has ended: what it did not tell of has failed."""
        missing = [test.id() for test in unit.tests if test.id() not in unit.done]
        if missing and not any(verdict == "FAILED" for verdict in unit.done.values()) or unit.too_long:
            for name in missing:
                why = f"no end within {unit.bound:.0f} s" if unit.too_long else "its process ended before it"
                self.add(unit, name, "FAILED", 0.0, why)
        unit.output.seek(0)
        text = unit.output.read().decode(errors="replace")
        if text and (self.verbose or "FAILED" in unit.done.values()):
            print("    " + text.rstrip().replace("\n", "\n    "), flush=True)
        unit.output.close()


def run(units, n_jobs, account):
    selector = selectors.DefaultSelector()
    running = []
    try:
        while units or running:
            n_busy = sum(not unit.waits for unit in running)
            n_waiting = len(running) - n_busy
            for unit in list(units):
                if (n_waiting < 3 if unit.waits else n_busy < n_jobs):
                    units.remove(unit)
                    start(unit, selector)
                    running.append(unit)
                    n_waiting, n_busy = n_waiting + unit.waits, n_busy + (not unit.waits)
            for key, _ in selector.select(0.2):
                unit = key.data
                data = os.read(unit.channel, 65536)
                unit.rest += data
                *lines, unit.rest = unit.rest.split(b"\n")
                for line in lines:
                    account.add(unit, *json.loads(line))
                if not data:
                    selector.unregister(unit.channel)
                    os.close(unit.channel)
                    os.waitpid(unit.pid, 0)
                    running.remove(unit)
                    account.close(unit)
            for unit in running:
                if unit.signals and time.monotonic() > unit.deadline + unit.signals[0][0]:
                    unit.too_long = True
                    os.kill(unit.pid, unit.signals.pop(0)[1])
    finally:
        stop_all(running)


def main():
    parser = argparse.ArgumentParser(description="End-to-end tests against a real nats-server.")
    parser.add_argument("-k", metavar="WORD", action="append", default=[], help="only tests with this word in their name")
    parser.add_argument("-j", metavar="N", type=int, default=int(os.environ.get("E2E_JOBS") or 2), help="units at once (2)")
    parser.add_argument("-v", action="store_true", help="show what the tests print")
    parser.add_argument("modules", nargs="*", metavar="MODULE")
    arguments = parser.parse_args()

    for program in ("compozy-dispatcherd", "compozy-runtimed"):
        if not os.access(os.path.join(harness.BIN, program), os.X_OK):
            sys.exit(f"{os.path.join(harness.BIN, program)} is not there: build first, or set COMPOZY_BIN")
    modules = {name.removesuffix(".py").rpartition("/")[2] for name in arguments.modules}
    modules = {name if name.startswith("test_") else "test_" + name for name in modules}
    tests = discover(modules, arguments.k)
    account = Account(arguments.v)
    began = time.monotonic()
    status = 0
    try:
        run(units_of(tests), arguments.j, account)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        status = 130
    counts = account.counts
    print(f"{time.monotonic() - began:.0f} seconds")
    print(f"{counts['ok']} passed, {counts['FAILED']} failed" + (f", {counts['skipped']} skipped" if counts["skipped"] else ""))
    return status or (1 if counts["FAILED"] or not counts["ok"] else 0)


if __name__ == "__main__":
    sys.exit(main())
