# SPDX-License-Identifier: MIT
"""Starting, working, reloading and telling what goes on, under systemd."""

import re

import world

FILES = ("compozy-dispatcherd.service", "compozy-runtimed.service", "compozy-runtimed@.service", "compozy.target")
SERVICES = ("compozy-dispatcherd.service", "compozy-runtimed.service", "compozy-runtimed@a.service")
DISPATCHER_READY = "MESSAGE_ID=5a0d5f2b8c6e4b0f9c4b1c6f6f1f0a02"


class Units(world.Case):
    files = {
        "/etc/compozy/runtimed.conf": "[runtime]\nid = first\n",
        "/etc/compozy/agents.d/greeter.json": {"agent_id": "greeter", "agent_type": "echo"},
        "/etc/compozy/agents.d/tally.json": {"agent_id": "tally", "agent_type": "counter", "checkpoint_interval_ms": 0},
    }

    def test_a_service_is_started_when_it_is_connected_and_settled(self):
        """systemctl start came back: the very first question must find everybody."""
        self.assertEqual(self.output_of(self.trigger("greeter", "hello")), "hello")
        for unit in SERVICES[:2]:
            self.assertEqual(self.show(unit, "SubState"), "running")
            self.assertIn("Ready", self.status_text(unit))

    def test_systemd_finds_nothing_to_complain_about_in_the_units(self):
        files = [f"/usr/lib/systemd/system/{name}" for name in FILES]
        done = self.box.run("systemd-analyze", "verify", "--man=no", *files, check=False)
        self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))

    def test_no_service_is_exposed_by_more_than_1_5(self):
        for unit in SERVICES:
            text = self.box.output("systemd-analyze", "security", "--no-pager", unit)
            exposure = re.search(r"exposure level for .*: ([0-9.]+) ", text)
            self.assertLessEqual(float(exposure.group(1)), 1.5, text)

    def test_nothing_of_a_service_runs_as_root_or_may_write_but_its_state(self):
        for unit in SERVICES[:2]:
            pid = self.show(unit, "MainPID")
            status = dict(line.split(":\t", 1) for line in self.box.output("cat", f"/proc/{pid}/status").splitlines() if ":\t" in line)
            self.assertNotIn("0", status["Uid"].split())
            self.assertEqual((int(status["CapBnd"], 16), status["NoNewPrivs"], status["Seccomp"]), (0, "1", "2"))
        self.assertEqual(self.output_of(self.trigger("tally")), {"count": 1})
        places = self.box.output("stat", "-L", "-c", "%a %u", "/var/lib/compozy-runtimed", "/var/lib/compozy-runtimed/state.db").split("\n")
        uid = status["Uid"].split()[0]
        self.assertEqual(places[:2], [f"700 {uid}", f"600 {uid}"])


class Reloading(world.Case):
    files = {
        "/etc/compozy/runtimed.conf": "[runtime]\nid = first\n",
        "/etc/compozy/agents.d/greeter.json": {"agent_id": "greeter", "agent_type": "echo"},
    }

    def test_a_reload_takes_new_agents_and_is_over_when_they_are_there(self):
        self.box.put("/etc/compozy/agents.d/second.json", '{"agent_id": "second", "agent_type": "echo"}')
        self.box.run("systemctl", "reload", "compozy-runtimed")
        self.assertEqual(self.output_of(self.trigger("second", 2)), 2)

    def test_a_reload_of_what_cannot_be_used_fails_and_says_why_and_changes_nothing(self):
        for unit, path, content, says in (
                ("compozy-dispatcherd", "/etc/compozy/dispatcherd.conf", "[dispatcher]\nqueue_limit = many\n", "dispatcher.queue_limit: \"many\""),
                ("compozy-runtimed", "/etc/compozy/agents.d/bad.json", '{"agent_id": 5}', "bad.json: agent_id")):
            with self.subTest(unit=unit):
                pid = self.show(unit, "MainPID")
                self.box.put(path, content)
                done = self.box.run("systemctl", "reload", unit, check=False)
                self.box.run("rm", path)
                self.assertNotEqual(done.returncode, 0)
                lines = [entry["MESSAGE"] for entry in self.journal("-u", unit, options=("-n", "12"))]
                self.assertTrue([line for line in lines if says in line], lines)
                self.assertEqual((self.show(unit, "MainPID"), self.show(unit, "ActiveState")), (pid, "active"))
                self.box.run("systemctl", "reload", unit)
        self.assertEqual(self.output_of(self.trigger("greeter", 3)), 3)

    def test_a_signal_that_reloads_what_cannot_be_used_shows_in_the_status(self):
        self.box.put("/etc/compozy/dispatcherd.conf", "[dispatcher\n")
        self.box.run("systemctl", "kill", "--kill-whom=main", "-s", "HUP", "compozy-dispatcherd")
        self.wait_show("compozy-dispatcherd", "StatusText", lambda text: "the last reload was refused" in text)
        self.box.run("rm", "/etc/compozy/dispatcherd.conf")
        self.box.run("systemctl", "reload", "compozy-dispatcherd")
        self.wait_show("compozy-dispatcherd", "StatusText", lambda text: text.startswith("Ready") and "refused" not in text)

    def test_a_configuration_that_cannot_be_used_at_the_start_is_not_tried_again_and_again(self):
        self.box.put("/etc/compozy/runtimed-broken.conf", "[runtime]\nno_such_key = 1\n")
        self.assertNotEqual(self.box.run("systemctl", "start", "compozy-runtimed@broken", check=False).returncode, 0)
        unit = "compozy-runtimed@broken"
        self.assertEqual((self.show(unit, "ActiveState"), self.show(unit, "ExecMainStatus"), self.show(unit, "NRestarts")),
                         ("failed", "78", "0"))


class Status(world.Case):
    files = {"/etc/compozy/agents.d/sleeper.json": {"agent_id": "sleeper", "agent_type": "delay"}}

    @classmethod
    def set_up_box(cls):
        cls.box.run("systemctl", "start", "--no-block", "compozy-dispatcherd", "compozy-runtimed")

    def test_the_status_says_what_is_true_before_with_and_after_nats(self):
        units = ("compozy-dispatcherd", "compozy-runtimed")
        for unit in units:
            self.wait_show(unit, "StatusText", lambda text: text.startswith("Connecting to NATS at nats://127.0.0.1:4222: could not connect"))
            self.assertEqual(self.show(unit, "ActiveState"), "activating")
        self.start("nats-server")
        for unit in units:
            self.wait_show(unit, "ActiveState", "active")
            self.wait_show(unit, "StatusText", lambda text: text.startswith("Ready"))
        self.wait_show(units[0], "StatusText", lambda text: "runtimes 1 of 1 live, agents 1" in text)
        self.wait_show(units[1], "StatusText", lambda text: "registered; agents 1, executions 0" in text)

        client = self.client()
        answers = client.subscribe("compozy.results.agent.status")
        client.publish("compozy.commands.agent.adhoc.trigger.sleeper",
                       {"payload": {"reply_to_subject": "compozy.results.agent.status", "context": {"input": {"ms": 3000}}}})
        self.wait_show(units[1], "StatusText", lambda text: "executions 1" in text)
        self.wait_show(units[0], "StatusText", lambda text: "with runtimes 1" in text)
        answers.next(15)

        self.box.run("systemctl", "stop", "nats-server")
        for unit in units:
            self.wait_show(unit, "StatusText", lambda text: text.startswith("Cut off from NATS"))
            self.assertEqual(self.show(unit, "ActiveState"), "active")
        self.start("nats-server")
        for unit in units:
            self.wait_show(unit, "StatusText", lambda text: text.startswith("Ready"))
            self.assertEqual(self.show(unit, "NRestarts"), "0")


class Journal(world.Case):
    files = {
        "/etc/compozy/dispatcherd.conf": "[log]\nlevel = debug\n",
        "/etc/compozy/runtimed.conf": "[log]\nlevel = debug\n",
        "/etc/compozy/agents.d/greeter.json": {"agent_id": "greeter", "agent_type": "echo"},
        "/etc/compozy/agents.d/talker.json": {"agent_id": "talker", "agent_type": "exec", "exec": {
            "command": ["sh", "-c", "echo said by talker >&2; exec jq --unbuffered -c '{id, result: {}}'"]}},
    }

    def test_an_execution_tells_its_story_in_both_daemons_under_one_field(self):
        result = self.trigger("greeter", 1)
        match = f"COMPOZY_EXEC_ID={result['agent']['exec_id']}"
        told = world.wait_until("both tell of it", lambda: len({entry["SYSLOG_IDENTIFIER"] for entry in self.journal(match)}) == 2 and
                                self.journal(match))
        self.assertGreaterEqual(len(told), 3, told)

    def test_what_an_agent_prints_is_found_by_its_id(self):
        entries = world.wait_until("it is in the journal", lambda: [entry for entry in self.journal("COMPOZY_AGENT_ID=talker")
                                                                   if "said by talker" in entry["MESSAGE"]])
        self.assertEqual(entries[0]["_SYSTEMD_UNIT"], "compozy-runtimed.service")

    def test_the_catalog_explains_what_a_message_id_finds(self):
        entries = self.journal(DISPATCHER_READY)
        self.assertEqual([entry["_SYSTEMD_UNIT"] for entry in entries], ["compozy-dispatcherd.service"], entries)
        self.box.run("journalctl", "--update-catalog")
        text = self.box.output("journalctl", "-x", DISPATCHER_READY)
        self.assertIn("Subject: The dispatcher is ready", text)
        self.assertIn("Defined-By: Compozy", text)


class Many(world.Case):
    files = {
        "/etc/compozy/runtimed-a.conf": "[runtime]\nlabels = zone=a\n",
        "/etc/compozy/runtimed-b.conf": "[runtime]\nlabels = zone=b\n",
        "/etc/compozy/agents.d/tally.json": {"agent_id": "tally", "agent_type": "counter", "checkpoint_interval_ms": 0},
    }

    @classmethod
    def set_up_box(cls):
        cls.start("nats-server")
        cls.box.run("systemctl", "enable", "compozy.target", "compozy-dispatcherd", "compozy-runtimed@a", "compozy-runtimed@b")
        cls.box.run("systemctl", "start", "compozy.target")

    def test_the_target_starts_what_is_enabled_and_stops_all_of_it(self):
        units = ("compozy-dispatcherd", "compozy-runtimed@a", "compozy-runtimed@b")
        for unit in units:
            self.wait_show(unit, "ActiveState", "active")
        self.box.run("systemctl", "stop", "compozy.target")
        for unit in units:
            self.wait_show(unit, "ActiveState", "inactive")
            self.assertEqual(self.show(unit, "Result"), "success")
        self.box.run("systemctl", "start", "compozy.target")
        for unit in units:
            self.wait_show(unit, "ActiveState", "active")

    def test_instances_are_runtimes_of_their_own_with_their_configuration_and_state(self):
        world.wait_until("both are there", lambda: {key: one["state"] for key, one in self.runtimes().items()} == {"a": "live", "b": "live"})
        self.assertEqual(self.runtimes()["a"]["labels"], {"zone": "a"})
        for zone, n in (("a", 1), ("a", 2), ("b", 1)):
            body = {"payload": {"labels": {"zone": zone}}}
            self.assertEqual(self.output_of(self.ask("compozy.commands.agent.adhoc.trigger.tally", body)), {"count": n})
        self.box.shell("test -s /var/lib/compozy-runtimed-a/state.db && test -s /var/lib/compozy-runtimed-b/state.db")


def attempt(command):
    """An agent that tries something when it starts, and answers with what came of it."""
    script = f"tried=$( {{ {command}; }} 2>&1 ) || :; exec jq --unbuffered -c --arg tried \"$tried\" '{{id, result: {{output: $tried}}}}'"
    return {"agent_type": "exec", "exec": {"command": ["sh", "-c", script]}}


class Locks(world.Case):
    """What docs/operations.md says about drop-ins for agents that need more."""

    files = {
        "/home/joe/hello": "hello",
        "/etc/compozy/runtimed-shut.conf": "[runtime]\nlabels = door=shut\n",
        "/etc/compozy/runtimed-open.conf": "[runtime]\nlabels = door=open\n",
        "/etc/systemd/system/compozy-runtimed@open.service.d/open.conf":
            "[Service]\nReadWritePaths=/srv/reports\nProtectHome=read-only\nRestrictNamespaces=no\nSystemCallFilter=@mount\n",
        "/etc/compozy/agents.d/writer.json": dict(attempt("echo written > /srv/reports/$$ && cat /srv/reports/$$"), agent_id="writer"),
        "/etc/compozy/agents.d/reader.json": dict(attempt("cat /home/joe/hello"), agent_id="reader"),
        "/etc/compozy/agents.d/boxer.json": dict(attempt("unshare --user --map-root-user --mount id -u"), agent_id="boxer"),
    }

    @classmethod
    def set_up_box(cls):
        cls.box.run("mkdir", "-m", "1777", "/srv/reports")
        cls.start("nats-server", "compozy-dispatcherd", "compozy-runtimed@shut", "compozy-runtimed@open")

    def test_agents_may_what_a_drop_in_of_their_instance_allows_and_no_more(self):
        world.wait_until("both are there", lambda: len(self.runtimes()) == 2)
        for agent, shut, opened in (("writer", "Read-only file system", "written"), ("reader", "Permission denied", "hello"),
                                    ("boxer", "Operation not permitted", "0")):
            for door, wanted in (("shut", shut), ("open", opened)):
                body = {"payload": {"labels": {"door": door}}}
                self.assertIn(wanted, self.output_of(self.ask(f"compozy.commands.agent.adhoc.trigger.{agent}", body)), (agent, door))
