# SPDX-License-Identifier: MIT
"""Hangs, crashes, stops and reboots."""

import world

SERVICES = ("compozy-dispatcherd", "compozy-runtimed")
GREETER = {"/etc/compozy/agents.d/greeter.json": {"agent_id": "greeter", "agent_type": "echo"}}


class Crashes(world.Case):
    files = dict(GREETER, **{f"/etc/systemd/system/{unit}.service.d/watchdog.conf": "[Service]\nWatchdogSec=1\n" for unit in SERVICES})

    def expect_new_process(self, unit, pid, n_before):
        self.wait_show(unit, "NRestarts", lambda text: int(text) > n_before, timeout=30)
        self.wait_show(unit, "ActiveState", "active", timeout=30)
        self.assertNotEqual(self.show(unit, "MainPID"), pid)
        world.wait_until("the runtime is live and answers", lambda: [one["state"] for one in self.runtimes().values()] == ["live"], 30)
        self.assertEqual(self.output_of(self.trigger("greeter", unit)), unit)

    def test_a_process_that_hangs_or_is_killed_is_replaced_and_work_goes_on(self):
        for unit in SERVICES:
            pid, n_restarts = self.show(unit, "MainPID"), int(self.show(unit, "NRestarts"))
            self.box.run("systemctl", "kill", "--kill-whom=main", "-s", "STOP", unit)
            self.expect_new_process(unit, pid, n_restarts)
            told = [entry["MESSAGE"] for entry in self.journal("-u", unit)]
            self.assertTrue([line for line in told if "Watchdog timeout" in line], told)

            pid, n_restarts = self.show(unit, "MainPID"), int(self.show(unit, "NRestarts"))
            self.box.run("systemctl", "kill", "--kill-whom=main", "-s", "KILL", unit)
            self.expect_new_process(unit, pid, n_restarts)


class Stops(world.Case):
    files = {
        "/etc/compozy/agents.d/sleeper.json": {"agent_id": "sleeper", "agent_type": "delay"},
        # it leaves its process group and its session, and nobody holds an end of its pipes
        "/etc/compozy/agents.d/fugitive.json": {"agent_id": "fugitive", "agent_type": "exec", "exec": {
            "command": ["sh", "-c", "setsid sh -c 'trap : TERM HUP; while :; do sleep 424242; done' <&- >/dev/null 2>&1 & "
                                    "exec jq --unbuffered -c '{id, result: {output: 1}}'"]}},
        "/etc/systemd/system/compozy-runtimed.service.d/stop.conf": "[Service]\nTimeoutStopSec=1\n",
    }

    def fugitives(self):
        return self.box.run("sh", "-c", "grep -l 42424[2] /proc/[0-9]*/cmdline 2>/dev/null", check=False).stdout.split()

    def test_what_is_held_is_answered_before_a_stop_ends_however_short_systemds_own_patience(self):
        client = self.client()
        answers = client.subscribe("compozy.results.agent.held")
        client.publish("compozy.commands.agent.adhoc.trigger.sleeper",
                       {"payload": {"reply_to_subject": "compozy.results.agent.held", "context": {"input": {"ms": 4000}}}})
        self.wait_show("compozy-runtimed", "StatusText", lambda text: "executions 1" in text)
        self.addCleanup(self.start, "compozy-runtimed")
        self.box.run("systemctl", "stop", "compozy-runtimed")
        self.assertEqual(answers.next(10).json()["payload"]["status"], "SUCCESS")
        self.assertEqual(self.show("compozy-runtimed", "Result"), "success")

    def test_a_child_that_escaped_from_its_group_is_gone_with_its_service(self):
        self.assertEqual(self.output_of(self.trigger("fugitive")), 1)
        world.wait_until("it has escaped", self.fugitives)
        self.addCleanup(self.start, "compozy-runtimed")
        self.box.run("systemctl", "stop", "compozy-runtimed")
        self.assertEqual(self.fugitives(), [])


class Impatience(world.Case):
    files = dict(GREETER, **{f"/etc/systemd/system/{unit}.service.d/start.conf": "[Service]\nTimeoutStartSec=1\n" for unit in SERVICES},
                 **{"/etc/compozy/runtimed.conf": "[runtime]\nid = twin\n"})

    @classmethod
    def set_up_box(cls):
        cls.box.run("systemctl", "start", "--no-block", *SERVICES)

    def test_a_service_that_finds_no_nats_begins_again_until_there_is_one(self):
        for unit in SERVICES:
            self.wait_show(unit, "NRestarts", lambda text: int(text) >= 2, timeout=30)
        self.start("nats-server")
        for unit in SERVICES:
            self.wait_show(unit, "ActiveState", "active", timeout=30)
        self.assertEqual(self.output_of(self.trigger("greeter", 1)), 1)

        # Of two runtimes with one id the later one stays, and they do not take it from each other again and again.
        self.start("compozy-runtimed@twin")
        self.wait_show("compozy-runtimed", "ActiveState", "failed")
        self.assertEqual(self.show("compozy-runtimed", "ExecMainStatus"), "3")
        self.assertEqual((self.show("compozy-runtimed@twin", "ActiveState"), self.show("compozy-runtimed@twin", "NRestarts")), ("active", "0"))
        self.assertEqual(self.output_of(self.trigger("greeter", 2)), 2)


class Reboots(world.Case):
    files = {
        "/etc/compozy/agents.d/tally.json": {"agent_id": "tally", "agent_type": "counter", "checkpoint_interval_ms": 0},
        "/etc/compozy/agents.d/lazy.json": {"agent_id": "lazy", "agent_type": "counter", "checkpoint_interval_ms": 3600000},
    }

    @classmethod
    def set_up_box(cls):
        cls.box.run("systemctl", "enable", "nats-server", "compozy.target", "compozy-dispatcherd", "compozy-runtimed")
        cls.box.run("systemctl", "start", "nats-server", "compozy.target", "compozy-dispatcherd", "compozy-runtimed")

    def n_events(self):
        answer = self.ask("$JS.API.STREAM.INFO.COMPOZY_EVENTS")
        return answer["state"]["messages"]

    def come_back(self):
        for unit in SERVICES:
            self.wait_show(unit, "ActiveState", "active", timeout=30)
        world.wait_until("the runtime is live", lambda: [one["state"] for one in self.runtimes().values()] == ["live"])

    def test_a_reboot_loses_no_state_no_event_and_no_line(self):
        for n in range(1, 6):
            self.assertEqual(self.output_of(self.trigger("tally")), {"count": n})
            self.assertEqual(self.output_of(self.trigger("lazy")), {"count": n})
        n_events = self.n_events()
        self.assertGreaterEqual(n_events, 10)
        self.box.reboot()
        self.come_back()
        self.assertGreaterEqual(self.n_events(), n_events)
        self.assertEqual(self.output_of(self.trigger("tally")), {"count": 6})
        self.assertEqual(self.output_of(self.trigger("lazy")), {"count": 6})
        stopped = [entry["MESSAGE"] for entry in self.journal("_SYSTEMD_UNIT=compozy-runtimed.service", options=("-b", "-1"))]
        self.assertTrue([line for line in stopped if "stopped" in line], stopped)

        # and when nobody could be told: what was answered is there
        self.box.crash()
        self.box.boot()
        self.come_back()
        self.assertEqual(self.output_of(self.trigger("tally")), {"count": 7})
