# SPDX-License-Identifier: MIT
"""What the daemons write to the journal, entry by entry, through the journal's own protocol."""

import os
import re
import subprocess
import unittest
import uuid

import journal
from harness import BIN, PREFIX, Case, exec_agent, scaled, wait_until


class Journal(Case):
    level = "debug"

    def setUp(self):
        if journal.why_not():
            raise unittest.SkipTest(journal.why_not())
        super().setUp()

    def build(self):
        self.world.server()
        self.journal = self.world.journal = journal.Journal(self.world.directory)
        self.options = {"log.level": self.level}
        self.build_daemons()

    def build_daemons(self):
        self.dispatcher = self.world.dispatcher(options=self.options)
        self.runtime = self.world.runtime(agents={"greeter": "echo", "sleeper": "delay", "worker": exec_agent()}, options=self.options)
        self.client = self.world.client()
        self.wait_runtimes("r1")

    def send(self, agent, value=None, **payload):
        """A trigger with ids of its own; (exec id, correlation id, inbox)."""
        exec_id, correlation_id = f"x-{uuid.uuid4().hex[:12]}", f"c-{uuid.uuid4().hex[:12]}"
        inbox = self.client.subscribe(f"_INBOX.{exec_id}")
        self.client.publish(f"{PREFIX}.commands.agent.adhoc.trigger.{agent}", {
            "metadata": {"type": "TriggerAgent", "request_id": exec_id, "correlation_id": correlation_id},
            "agent": {"id": agent, "exec_id": exec_id}, "payload": dict(payload, context={"input": value})}, f"_INBOX.{exec_id}")
        return exec_id, correlation_id, inbox

    def story(self, exec_id, last):
        """[(who, step)] of all entries about that execution, once `last` is among them; who: d1, r1, ..."""

        def told():
            found = [(entry["SYSLOG_IDENTIFIER"][8], entry["COMPOZY_STEP"], entry) for entry in self.journal.entries(COMPOZY_EXEC_ID=exec_id)
                     if "COMPOZY_STEP" in entry]
            steps = [(letter if letter == "d" else entry["COMPOZY_RUNTIME_ID"], step) for letter, step, entry in found]
            return last in steps and steps

        return wait_until(f"the journal tells {last} of {exec_id}", told, 10)

    def entry(self, exec_id, step, who=None):
        found = [entry for entry in self.journal.entries(COMPOZY_EXEC_ID=exec_id, COMPOZY_STEP=step)
                 if who is None or entry["SYSLOG_IDENTIFIER"] == who]
        self.assertEqual(len(found), 1, found)
        return found[0]

    def assert_in_order(self, story, *steps):
        at = -1
        for step in steps:
            self.assertIn(step, story[at + 1:], f"{step} is not in {story} behind place {at}")
            at = story.index(step, at + 1)


class AtDebug(Journal):
    shared = True

    def test_the_story_of_one_trigger_is_told_by_both_daemons(self):
        exec_id, correlation_id, inbox = self.send("greeter", "hello", priority=70)
        self.assert_success(inbox.next(scaled(5)).json(), "hello")
        story = self.story(exec_id, ("d", "ended"))
        self.assert_in_order(story, ("d", "arrived"), ("d", "relayed"), ("r1", "accepted"), ("r1", "started"), ("r1", "done"))
        self.assert_in_order(story, ("d", "relayed"), ("d", "ended"))
        for entry in self.journal.entries(COMPOZY_EXEC_ID=exec_id):
            self.assertEqual(entry["COMPOZY_CORRELATION_ID"], correlation_id, entry)
            self.assertEqual(entry["COMPOZY_AGENT_ID"], "greeter", entry)
            self.assertEqual(entry["PRIORITY"], "7", entry)
        self.assertIn("priority 70", self.entry(exec_id, "arrived")["MESSAGE"])
        self.assertEqual(self.entry(exec_id, "relayed")["COMPOZY_RUNTIME_ID"], "r1")
        self.assertIn("the only one", self.entry(exec_id, "relayed")["MESSAGE"])
        self.assertEqual(self.entry(exec_id, "ended")["COMPOZY_STATUS"], "SUCCESS")

    def test_the_story_of_one_that_waits_tells_for_what(self):
        exec_id, _, inbox = self.send("nobody", 1, deadline_ms=500)
        self.assert_failure(inbox.next(scaled(10)).json(), "AGENT_UNKNOWN")
        story = self.story(exec_id, ("d", "failed"))
        self.assertEqual(story[0], ("d", "arrived"))
        failed = self.entry(exec_id, "failed")
        self.assertEqual((failed["PRIORITY"], failed["COMPOZY_CODE"]), ("6", "AGENT_UNKNOWN"))
        self.assertTrue(failed["MESSAGE_ID"])

    def test_a_trigger_that_is_refused_is_found_by_its_ids(self):
        exec_id, correlation_id, inbox = self.send("greeter", 1, reply_to_subject=f"{PREFIX}.commands.evil")
        self.assertEqual(inbox.next(scaled(5)).json()["payload"]["result"]["error"]["code"], "TOPIC_FORBIDDEN")
        self.story(exec_id, ("d", "refused"))
        refused = self.entry(exec_id, "refused")
        self.assertEqual((refused["PRIORITY"], refused["COMPOZY_CORRELATION_ID"]), ("4", correlation_id))
        self.assertIn("reserved", refused["MESSAGE"])

    def test_a_runtime_that_refuses_says_why_and_so_does_the_end(self):
        self.control("stop_agent", {"agent_id": "sleeper"})
        try:
            exec_id, _, inbox = self.send("sleeper", {"ms": 1})
            self.assert_failure(inbox.next(scaled(10)).json(), "AGENT_STOPPED")
            self.story(exec_id, ("d", "failed"))
            self.assertEqual(self.entry(exec_id, "failed")["COMPOZY_CODE"], "AGENT_STOPPED")
        finally:
            self.control("start_agent", {"agent_id": "sleeper"})

    def test_an_agents_words_are_under_its_name_and_belong_to_what_it_handles(self):
        exec_id, correlation_id, inbox = self.send("worker", {"do": "notify", "method": "log", "params": {
            "level": "warning", "message": "mind the gap", "fields": {"gap": 7}}})
        inbox.next(scaled(5))
        entry = wait_until("its words are there", lambda: self.journal.entries(SYSLOG_IDENTIFIER="agent.worker", MESSAGE="mind the gap"), 5)[0]
        self.assertEqual(entry["PRIORITY"], "4")
        self.assertEqual(entry["COMPOZY_AGENT_ID"], "worker")
        self.assertEqual(entry["COMPOZY_RUNTIME_ID"], "r1")
        self.assertEqual(entry["COMPOZY_FIELDS"], '{"gap":7}')
        self.assertEqual((entry.get("COMPOZY_EXEC_ID"), entry.get("COMPOZY_CORRELATION_ID")), (exec_id, correlation_id))

        self.send("worker", {"do": "notify", "method": "log", "params": {"level": "info", "message": "y" * 4000, "fields": {"z": "z" * 4000}}})
        entry = wait_until("its long words are there", lambda: self.journal.entries(SYSLOG_IDENTIFIER="agent.worker", MESSAGE="y" * 4000), 5)[0]
        self.assertEqual(len(entry["COMPOZY_FIELDS"]), 4000 + len('{"z":""}'))

        inbox = self.send("worker", {"do": "complain", "text": "on my stderr", "times": 1})[2]
        inbox.next(scaled(5))
        entry = wait_until("its stderr is there", lambda: [one for one in self.journal.entries(SYSLOG_IDENTIFIER="agent.worker")
                                                           if one["MESSAGE"].startswith("on my stderr")], 5)[0]
        self.assertEqual(entry["COMPOZY_AGENT_ID"], "worker")
        self.assertTrue(entry["COMPOZY_CHILD_PID"].isdigit())

    def test_every_entry_is_whole(self):
        exec_id, _, inbox = self.send("greeter", "a\nforged\x1b[31m line")
        inbox.next(scaled(5))
        self.story(exec_id, ("d", "ended"))
        for entry in self.journal.entries():
            self.assertIn(entry["PRIORITY"], "34567", entry)
            self.assertNotIn("\n", entry["MESSAGE"], entry)
            self.assertIn("COMPOZY_DISPATCHER_ID" if entry["SYSLOG_IDENTIFIER"] == "compozy-dispatcherd" else "COMPOZY_RUNTIME_ID", entry)
            self.assertTrue(all(re.fullmatch("[A-Z_]+", name) for name in entry), entry)
            if entry["PRIORITY"] != "7":
                self.assertRegex(entry.get("MESSAGE_ID", "none"), "^[0-9a-f]{32}$", entry)


class AfterAKill(Journal):
    def build_daemons(self):
        self.dispatcher = self.world.dispatcher(options=self.options)
        agents = {"patient": exec_agent()}
        self.fleet = {name: self.world.runtime(name, agents=agents, options=dict(self.options, **{"runtime.heartbeat_interval_ms": "100"}))
                      for name in ("r1", "r2")}
        self.client = self.world.client()
        self.wait_runtimes("r1", "r2")

    def test_the_story_of_one_that_is_placed_again_names_both_runtimes(self):
        done = os.path.join(self.world.directory, "done")
        exec_id, _, inbox = self.send("patient", {"do": "wait_for", "path": done}, retry="always", deadline_ms=int(scaled(20000)))
        first = wait_until("it is started", lambda: self.journal.entries(COMPOZY_EXEC_ID=exec_id, COMPOZY_STEP="started",
                                                                         SYSLOG_IDENTIFIER="compozy-runtimed"), 5)[0]["COMPOZY_RUNTIME_ID"]
        second = {"r1": "r2", "r2": "r1"}[first]
        self.fleet[first].kill()
        open(done, "w", encoding="ascii").close()
        self.assert_success(inbox.next(scaled(15)).json())
        story = self.story(exec_id, ("d", "ended"))
        self.assert_in_order(story, ("d", "relayed"), (first, "started"), ("d", "retried"), ("d", "relayed"), (second, "accepted"),
                             (second, "started"), (second, "done"))
        relayed = [(entry["COMPOZY_RUNTIME_ID"], entry["COMPOZY_ATTEMPT"]) for entry in
                   self.journal.entries(COMPOZY_EXEC_ID=exec_id, COMPOZY_STEP="relayed")]
        # the second may refuse at first, when it stood still itself and does not know what was concluded from that
        self.assertEqual(relayed, [(first, "1")] + [(second, str(attempt)) for attempt in range(2, len(relayed) + 1)])
        lost = self.journal.entries(COMPOZY_REASON="heartbeat_timeout", COMPOZY_RUNTIME_ID=first)
        self.assertEqual([entry["PRIORITY"] for entry in lost], ["4"])


class AtInfo(Journal):
    level = "info"

    def test_what_goes_well_is_not_told_and_what_does_not_is_told_a_few_times_and_counted(self):
        for number in range(20):
            self.assert_success(self.trigger_input("greeter", number), number)
        self.assertEqual([entry for entry in self.journal.entries() if "COMPOZY_EXEC_ID" in entry], [])

        for _ in range(30):
            self.client.publish(f"{PREFIX}.commands.agent.adhoc.trigger.greeter", b"{")
        self.client.flush()
        self.assert_success(self.trigger_input("greeter", "after them"))
        refused = {"MESSAGE_ID": "7647e899b0d649acab921427f5348b5e"}
        wait_until("the first are told", lambda: len(self.journal.entries(**refused)) == 5, 5)
        self.assertEqual(self.dispatcher.terminate(), 0)
        last = wait_until("the rest is counted", lambda: len(found := self.journal.entries(**refused)) == 6 and found, 5)[-1]
        self.assertEqual((last["COMPOZY_LEFT_OUT"], last["PRIORITY"]), ("25", "4"))
        self.assertEqual(last["MESSAGE"], "25 lines were left out: triggers that were refused")

    def test_a_chatty_agent_is_told_that_it_was(self):
        self.send("worker", {"do": "complain", "text": "blah", "times": 300})[2].next(scaled(5))
        self.assertEqual(self.runtime.terminate(), 0)
        entries = wait_until("the rest is counted", lambda: [entry for entry in self.journal.entries(COMPOZY_AGENT_ID="worker")
                                                             if "COMPOZY_LEFT_OUT" in entry], 5)
        self.assertEqual([(entry["COMPOZY_LEFT_OUT"], entry["MESSAGE"]) for entry in entries],
                         [("200", "200 lines were left out: own words of worker")])

    def test_a_service_that_can_not_start_says_so_in_the_journal_with_what_to_do(self):
        for program in ("compozy-dispatcherd", "compozy-runtimed"):
            command = self.world.journal.wrapped([os.path.join(BIN, program), "-o", "log.level=loud"])
            with open(os.path.join(self.world.directory, "stderr"), "w+b") as stderr:
                status = os.fstat(stderr.fileno())
                done = subprocess.run(command, stderr=stderr, env=dict(os.environ, JOURNAL_STREAM=f"{status.st_dev}:{status.st_ino}"), check=False)
                stderr.seek(0)
                self.assertEqual((done.returncode, stderr.read()), (78, b""))
            entry = wait_until(f"{program} says so", lambda: self.journal.entries(SYSLOG_IDENTIFIER=program, PRIORITY=3), 5)[0]
            self.assertIn("log.level", entry["MESSAGE"])
            self.assertRegex(entry["MESSAGE_ID"], "^[0-9a-f]{32}$")

    def test_a_crash_is_told_once_and_so_is_the_return(self):
        exec_id, correlation_id, inbox = self.send("worker", {"do": "exit", "status": 3, "words": "Traceback: woe"})
        inbox.next(scaled(5))
        lost = {"MESSAGE_ID": "5f1f9b1c6a0e4a7fb6d2c3f0a4e1d720", "COMPOZY_AGENT_ID": "worker"}
        wait_until("it is back", lambda: len(self.journal.entries(**lost)) == 2, 10)
        entries = [entry for entry in self.journal.entries(COMPOZY_AGENT_ID="worker") if entry["SYSLOG_IDENTIFIER"] != "agent.worker"]
        self.assertEqual([entry["PRIORITY"] for entry in entries], ["4", "6"], entries)
        self.assertIn("exited with status 3", entries[0]["MESSAGE"])
        words = self.journal.entries(COMPOZY_EXEC_ID=exec_id)
        self.assertEqual([(entry["MESSAGE"], entry["COMPOZY_CORRELATION_ID"]) for entry in words], [("Traceback: woe", correlation_id)])


class WhenTheWindowIsOver(Journal):
    level = "info"
    waits = True

    def test_what_was_left_out_is_said_though_no_line_follows(self):
        for _ in range(12):
            self.client.publish(f"{PREFIX}.commands.agent.adhoc.trigger.greeter", b"{")
        self.client.flush()
        refused = {"MESSAGE_ID": "7647e899b0d649acab921427f5348b5e"}
        wait_until("they are refused", lambda: len(self.journal.entries(**refused)) == 5, 5)
        last = wait_until("the rest is counted", lambda: len(found := self.journal.entries(**refused)) == 6 and found, 15)[-1]
        self.assertEqual(last["COMPOZY_LEFT_OUT"], "7")
