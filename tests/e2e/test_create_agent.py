# SPDX-License-Identifier: MIT
"""create_agent asked of a dispatcher, which finds a runtime; and triggers for agents in every state."""

from harness import PREFIX, Case, scaled

VERB = f"{PREFIX}.commands.agent_dispatcher.create_agent"


class CreateAgent(Case):
    def build(self):
        self.world.server()
        self.world.dispatcher("d1")
        for name, labels, limit in (("r1", "zone=a", 3), ("r2", "zone=b", 100)):
            self.world.runtime(name, agents={}, options={"runtime.labels": labels, "runtime.max_agents": limit})
        self.client = self.world.client()
        self.wait_runtimes("r1", "r2")

    def test_an_agent_is_created_where_it_may_be_and_answers_at_once(self):
        for number in range(8):
            created = self.verb_ok("create_agent", {"agent_id": f"new-{number}", "agent_type": "echo", "priority": 60})
            self.assertEqual(created["state"], "running")
            self.assert_success(self.trigger_input(f"new-{number}", number), number)
        hosts = {agent["agent_id"]: agent["runtimes"] for agent in self.verb_ok("list_agents")["agents"]}
        self.assertEqual(len(hosts), 8)
        self.assertLessEqual(sum(runtimes == ["r1"] for runtimes in hosts.values()), 3)

        created = self.verb_ok("create_agent", {"definition": {"agent_id": "far", "agent_type": "echo"}, "labels": {"zone": "b"}})
        self.assertEqual(created["runtime_id"], "r2")
        error = self.verb_error("create_agent", {"agent_id": "far", "agent_type": "echo"}, "AGENT_EXISTS")
        self.assertIn("r2", error["message"])
        error = self.verb_error("create_agent", {"agent_id": "far", "agent_type": "echo", "runtime_id": "r2"}, "AGENT_EXISTS")
        self.assertEqual(self.verb_ok("create_agent", {"agent_id": "twin", "agent_type": "echo", "runtime_id": "r2"})["runtime_id"], "r2")

    def test_why_it_can_not_be_is_answered(self):
        self.verb_error("create_agent", {"agent_type": "echo"}, "INVALID_MESSAGE")
        self.verb_error("create_agent", {"agent_id": "x", "agent_type": "echo", "no_such_key": 1}, "INVALID_MESSAGE")
        error = self.verb_error("create_agent", {"agent_id": "x", "agent_type": "nobody-has-this"}, "NO_RUNTIME")
        self.assertEqual({one["runtime_id"] for one in error["details"]["considered"]}, {"r1", "r2"})
        error = self.verb_error("create_agent", {"agent_id": "x", "agent_type": "echo", "labels": {"zone": "c"}}, "NO_RUNTIME")
        self.assertIn("labels", error["message"])
        self.verb_error("create_agent", {"agent_id": "x", "agent_type": "exec", "exec": {"command": ["/no/such/program"]}}, "INIT_FAILED")
        self.assertEqual(self.verb_ok("list_agents")["total"], 0)

    def test_a_runtime_that_is_gone_is_not_waited_for(self):
        self.world.processes[2].kill()  # r1, and the dispatcher does not know yet
        for number in range(4):
            created = self.verb_ok("create_agent", {"agent_id": f"x{number}", "agent_type": "echo"})
            self.assertEqual(created["runtime_id"], "r2")

    def test_a_trigger_finds_the_agent_as_it_is(self):
        self.verb_ok("create_agent", {"agent_id": "tom", "agent_type": "echo", "runtime_id": "r1"})
        subject = f"{PREFIX}.commands.agent.adhoc.trigger.tom"

        self.control("pause_agent", "tom")
        inbox = self.client.subscribe("paused.answer")
        self.client.publish(subject, {"payload": {"context": {"input": 1}}}, "paused.answer")
        self.client.flush()
        self.assertEqual(self.control("get_agent", "tom")["state"], "paused")
        self.assertEqual(len(inbox), 0)
        self.control("resume_agent", "tom")
        self.assert_success(inbox.next(scaled(5)).json(), 1)

        self.control("stop_agent", "tom")
        for _ in range(3):  # each time the same: not once AGENT_STOPPED and NO_RUNTIME from then on
            self.assert_failure(self.trigger_input("tom", 1), "AGENT_STOPPED")
        self.control("start_agent", "tom")
        self.assert_success(self.trigger_input("tom", 2), 2)
