# SPDX-License-Identifier: MIT
"""Agents that publish, subscribe, ask, trigger and set timers themselves."""

import base64
import json
import os
import time

from harness import PREFIX, Case, exec_agent, holds_for, in_time, scaled, wait_until

TRACE = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"


class Conversations(Case):
    shared = True

    def build(self):
        self.world.server(monitored=True)
        self.dispatcher = self.world.dispatcher()
        self.runtime = self.world.runtime("r1")
        self.client = self.world.client()
        self.wait_runtimes("r1")

    def wish(self, agent, method, **params):
        """What the agent is answered when it asks its runtime for that."""
        result = self.trigger_input(agent, {"do": "wish", "method": method, "params": params})
        self.assert_success(result)
        return result["payload"]["result"]["output"]

    def wishes(self, agent, *of):
        result = self.trigger_input(agent, {"do": "wishes", "of": of})
        self.assert_success(result)
        return result["payload"]["result"]["output"]

    def assert_refused(self, answer, code, word=""):
        self.assertEqual(answer["error"]["data"]["code"], code, answer)
        self.assertIn(word, answer["error"]["message"])

    def seen(self, agent):
        result = self.trigger_input(agent, {"do": "seen"})
        self.assert_success(result)
        return result["payload"]["result"]["output"]


class Publishing(Conversations):
    def test_an_agent_that_publishes_to_a_topic_it_consumes_goes_on_until_the_ttl_is_used_up(self):
        self.create("ouroboros", {"agent_type": "relay", "parameters": {"to": "circle.topic"}}, topics=["circle.topic"])
        watcher = self.client.subscribe("circle.topic")
        self.client.publish("circle.topic", "round", headers={"Compozy-Thread-Id": "circle", "Compozy-Ttl": "50"})
        hops = [int(watcher.next(scaled(5)).headers.get("Compozy-Hop", 0)) for _ in range(50)]
        self.assertEqual(hops, list(range(50)))
        holds_for("nothing follows", lambda: len(watcher) == 0, 0.2)
        self.assertEqual(self.control("get_agent", "ouroboros")["handled"], 49)
        self.assert_success(self.trigger_input("ouroboros", "again"))

    def test_a_chain_of_relays_passes_bytes_and_envelope_on(self):
        for number in range(5):
            self.create(f"link-{number}", {"agent_type": "relay", "parameters": {"to": f"chain.{number + 1}"}}, topics=[f"chain.{number}"])
        end = self.client.subscribe("chain.5")
        payload = bytes(range(256))
        given = {"Compozy-Thread-Id": "chain", "Compozy-Correlation-Id": "c-5", "traceparent": TRACE}
        self.client.publish("chain.0", payload, headers=given)
        message = end.next(scaled(5))
        self.assertEqual(message.data, payload)
        wanted = dict(given, **{"Compozy-Hop": "5", "Compozy-Ttl": "11", "Compozy-Sender": "agent.link-4"})
        self.assertEqual({name: message.headers.get(name) for name in wanted}, wanted)

    def test_an_agent_that_joins_a_thread_receives_from_then_on_and_one_that_leaves_does_not(self):
        topic = "thread.talk.broadcast"
        self.create("host", exec_agent(), topics=[topic])
        self.create("visitor", exec_agent())

        def say(*words):
            for word in words:
                self.client.publish(topic, word, headers={"Compozy-Thread-Id": "talk"})
            self.client.flush()
            wait_until("the host has heard", lambda: [one["input"] for one in self.seen("host")][-1:] == [words[-1]], 5)

        say("one", "two")
        self.assertEqual(self.wish("visitor", "subscribe", topic=topic), {"result": None})
        say("three", "four")
        wait_until("the visitor has heard", lambda: [one["input"] for one in self.seen("visitor")] == ["three", "four"], 5)
        self.assertEqual(self.wish("visitor", "unsubscribe", topic=topic), {"result": None})
        say("five")
        self.assertEqual([one["input"] for one in self.seen("visitor")], ["three", "four"])
        self.assertEqual([one["input"] for one in self.seen("host")], ["one", "two", "three", "four", "five"])

    def test_what_an_agent_publishes_are_the_bytes_it_gave_under_the_thread_of_what_it_handles(self):
        self.create("herald", exec_agent())
        inbox = self.client.subscribe("herald.said")
        for params, data in (({"payload": {"a": [1, None]}}, b'{"a":[1,null]}'), ({"payload_text": "plain"}, b"plain"), ({}, b""),
                             ({"payload_base64": base64.b64encode(bytes(range(256))).decode()}, bytes(range(256)))):
            self.assertEqual(self.wish("herald", "publish", topic="herald.said", headers={"X-Colour": "red"}, **params), {"result": None})
            message = inbox.next(scaled(5))
            self.assertEqual(message.data, data)
            self.assertEqual((message.headers["Compozy-Sender"], message.headers["X-Colour"]), ("agent.herald", "red"))
        self.create("echoer", exec_agent({"at_topic": {"do": "wish", "method": "publish", "params": {"topic": "herald.said", "payload": 1}}}),
                    topics=["herald.heard"])
        self.client.publish("herald.heard", "x", headers={"Compozy-Thread-Id": "t-4", "Compozy-Ttl": "7", "Compozy-Hop": "2", "traceparent": TRACE})
        headers = inbox.next(scaled(5)).headers
        wanted = {"Compozy-Thread-Id": "t-4", "Compozy-Correlation-Id": "t-4", "Compozy-Ttl": "6", "Compozy-Hop": "3", "traceparent": TRACE}
        self.assertEqual({name: headers.get(name) for name in wanted}, wanted)

    def test_headers_that_are_the_platforms_can_not_be_forged(self):
        self.create("forger", exec_agent())
        inbox = self.client.subscribe("forger.said")
        for headers in ({"Compozy-Sender": "agent.king"}, {"Compozy-Hop": "0"}, {"Compozy-Ttl": "250"}, {"X": "a\r\nCompozy-Sender: agent.king"}):
            answer = self.wish("forger", "publish", topic="forger.said", payload=1, headers=headers)
            if "error" not in answer:
                message = inbox.next(scaled(5))
                self.assertEqual(message.headers["Compozy-Sender"], "agent.forger")
                self.assertLessEqual(int(message.headers["Compozy-Ttl"]), 16)

    def test_what_an_agent_may_not_is_told_to_it(self):
        self.create("rebel", exec_agent(), topics=["rebel.has"])
        for method, params, code in (("subscribe", {"topic": "compozy.commands.>"}, "TOPIC_FORBIDDEN"),
                                     ("subscribe", {"topic": "rebel.has"}, "ALREADY_SUBSCRIBED"),
                                     ("unsubscribe", {"topic": "rebel.not"}, "NOT_SUBSCRIBED"),
                                     ("unsubscribe", {"topic": "agent.rebel.replies"}, "REPLY_TOPIC_MANAGED"),
                                     ("publish", {"topic": "compozy.runtime.r1.control.drain", "payload": {}}, "TOPIC_FORBIDDEN"),
                                     ("publish", {"topic": "$SYS.x", "payload": 1}, "TOPIC_FORBIDDEN"),
                                     ("publish", {"topic": "a.*", "payload": 1}, "INVALID_MESSAGE")):
            answer = self.wish("rebel", method, **params)
            self.assertEqual(answer["error"]["data"]["code"], code, (method, params, answer))
            self.assertTrue(answer["error"]["message"])
        self.assertIn(self.runtimes()["r1"]["state"], ("live", "suspect"))  # but not draining


class Asking(Conversations):
    def test_an_agent_gets_the_answer_of_the_agent_it_asks(self):
        self.create("asker", exec_agent())
        self.create("scholar", exec_agent({"answers": True}))
        for value in ({"question": [1, "two"]}, 5, "text"):
            self.assertEqual(self.wish("asker", "ask", agent_id="scholar", payload=value), {"result": value})
            self.assertEqual(self.wish("asker", "ask", agent_id="greeter", payload=value), {"result": value})
        self.assertEqual(self.wish("asker", "ask", agent_id="greeter", payload_text="no JSON"), {"result": {"payload_text": "no JSON"}})
        self.create("taciturn", exec_agent())
        self.assertEqual(self.wish("asker", "ask", agent_id="taciturn", payload=1), {"result": None})
        seen = self.seen("scholar")[0]
        self.assertEqual((seen["topic"], seen["envelope"]["sender"]), ("agent.scholar.replies", "agent.asker"))

    def test_each_way_not_to_get_an_answer_has_its_code(self):
        self.create("curious", exec_agent())
        self.create("silent", exec_agent({"at_topic": {"do": "hang"}}))
        self.create("angry", exec_agent({"at_topic": {"do": "error", "message": "leave me alone"}}))
        self.create("resting")
        self.control("stop_agent", "resting")
        self.assert_refused(self.wish("curious", "ask", agent_id="nobody", payload=1), "AGENT_NOT_FOUND", "nobody")
        self.assert_refused(self.wish("curious", "ask", agent_id="resting", payload=1), "AGENT_STOPPED")
        self.assert_refused(self.wish("curious", "ask", agent_id="angry", payload=1), "INTERNAL", "leave me alone")
        began = time.monotonic()
        self.assert_refused(self.wish("curious", "ask", agent_id="silent", payload=1, timeout_ms=300), "TIMEOUT", "no answer within")
        self.assertGreaterEqual(time.monotonic() - began, 0.3)
        self.assertLess(time.monotonic() - began, in_time(0.3))
        for params in ({"agent_id": "a b"}, {"agent_id": "x", "timeout_ms": -1}, {}):
            self.assertEqual(self.wish("curious", "ask", **params)["error"]["code"], -32602)

    def test_hundreds_of_questions_at_once_get_each_its_own_answer(self):
        self.create("reporter", exec_agent())
        answers = self.wishes("reporter", *[("ask", {"agent_id": "greeter", "payload": number}) for number in range(300)])
        self.assertEqual(answers, [{"result": number} for number in range(300)])

    def test_an_agent_may_ask_itself_when_it_can_handle_two_messages(self):
        self.create("thinker", exec_agent({"answers": True}, max_concurrency=2))
        self.assertEqual(self.wish("thinker", "ask", agent_id="thinker", payload="me?"), {"result": "me?"})
        self.create("single", exec_agent({"answers": True}))
        self.assert_refused(self.wish("single", "ask", agent_id="single", payload="me?", timeout_ms=200), "TIMEOUT")

    def test_agents_that_ask_each_other_for_ever_end_with_the_ttl(self):
        for agent, other in (("ping", "pong"), ("pong", "ping")):
            ask = {"do": "wish", "method": "ask", "params": {"agent_id": other, "payload": 1, "timeout_ms": 2000}}
            self.create(agent, exec_agent({"at_topic": ask}, max_concurrency=50))
        self.client.publish("agent.ping.replies", "1", headers={"Compozy-Ttl": "10"})

        def n_seen():
            return len(self.seen("ping")) + len(self.seen("pong"))

        wait_until("the last was asked", lambda: n_seen() == 9, 10)
        wait_until("they have ended", lambda: sum(self.control("get_agent", agent)["open"] for agent in ("ping", "pong")) == 0, 10)
        self.assertEqual(n_seen(), 9)

    def test_an_agent_triggers_another_and_gets_its_output_or_its_error(self):
        self.create("boss", exec_agent())
        self.create("hand", exec_agent())
        self.assertEqual(self.wish("boss", "trigger", agent_id="hand", input={"do": "echo", "value": 7}), {"result": 7})
        self.assertEqual(self.wish("boss", "trigger", agent_id="greeter"), {"result": None})
        wrong = {"do": "error", "code": "STATE_ERROR", "message": "broken"}
        self.assert_refused(self.wish("boss", "trigger", agent_id="hand", input=wrong), "STATE_ERROR", "broken")
        self.assert_refused(self.wish("boss", "trigger", agent_id="nobody", input=1), "AGENT_UNKNOWN")
        answer = self.wish("boss", "trigger", agent_id="hand", input={"do": "sleep", "ms": 1500}, timeout_ms=300)
        self.assertIn(answer["error"]["data"]["code"], ("TIMEOUT", "DEADLINE_EXCEEDED"))

    def test_an_agent_that_triggers_itself_for_ever_comes_to_an_end(self):
        self.create("mirror", exec_agent(max_concurrency=64))
        result = self.trigger_input("mirror", {"do": "trigger_itself", "depth": 1}, deadline_ms=25000, timeout=30)
        self.assert_success(result)
        output = result["payload"]["result"]["output"]
        self.assertLessEqual(output["depth"], 17)
        self.assertIn("ttl", output["error"]["message"].lower())


class Times(Conversations):
    def test_a_timer_fires_once_after_its_time_and_a_cancelled_one_never(self):
        self.create("clock", exec_agent())
        self.assertEqual(self.wish("clock", "set_timer", token=6, ms=3600000), {"result": None})
        began = time.monotonic()
        # in one breath, so that none of them is due before the last is said
        wishes = [("set_timer", {"token": token, "ms": ms}) for token, ms in ((1, 250), (2, 100), (3, 120), (4, 3600000), (5, 50))]
        wishes += [("cancel_timer", {"token": 3}), ("set_timer", {"token": 5, "ms": 400})]  # moved
        text = "".join(json.dumps({"jsonrpc": "2.0", "method": method, "params": params}) + "\n" for method, params in wishes)
        self.assert_success(self.trigger_input("clock", {"do": "say", "text": text}))
        wait_until("the last has fired", lambda: [one["token"] for one in self.seen("clock")] == [2, 1, 5], 5)
        self.assertGreaterEqual(time.monotonic() - began, 0.4)
        holds_for("nothing else does", lambda: len(self.seen("clock")) == 3, 0.2)

    def test_timers_of_a_paused_agent_fire_when_it_is_resumed_and_those_of_a_stopped_one_never(self):
        for agent in ("napper", "leaver"):
            self.create(agent, exec_agent({"at_timer": {"do": "wish", "method": "publish", "params": {"topic": f"{agent}.rang", "payload": 1}}}))
        rang = self.client.subscribe("*.rang")
        for seconds in (0.4, 2, 10):
            began = time.monotonic()
            for agent in ("napper", "leaver"):
                self.wish(agent, "set_timer", token=1, ms=int(seconds * 1000))
            self.control("pause_agent", "napper")
            self.control("stop_agent", "leaver")
            if time.monotonic() < began + seconds:
                break
            self.control("resume_agent", "napper")  # not in time, on a slow machine: again, with more of it
            self.control("start_agent", "leaver")
            wait_until("the timer has fired", lambda: "napper.rang" in [message.subject for message in rang.taken()], 5)
        holds_for("nobody rings", lambda: not rang.taken(), seconds + 0.2)
        self.control("resume_agent", "napper")
        self.assertEqual(rang.next(scaled(5)).subject, "napper.rang")
        self.control("start_agent", "leaver")
        holds_for("the other does not", lambda: not rang.taken(), 0.2)

    def test_the_number_of_timers_is_bounded(self):
        self.create("nervous", exec_agent())
        self.wishes("nervous", *[("set_timer", {"token": token, "ms": 3600000}) for token in range(1000)])
        self.wishes("nervous", *[("set_timer", {"token": token, "ms": 3600000}) for token in range(1000, 1100)])
        self.runtime.wait_log("nervous.*max_timers_per_agent", 5)
        self.control("delete_agent", "nervous")

    def test_a_log_line_of_an_agent_is_in_the_log_under_its_name(self):
        self.create("diarist", exec_agent())
        self.assertEqual(self.wish("diarist", "log", level="warning", message="the ink is\nrunning out", fields={"bottle": 3}), {"result": None})
        line = self.runtime.wait_log(r".*diarist.*the ink is.*", 5).group(0)
        self.assertIn(" WARN ", line)

    def test_an_agent_can_stop_itself_when_its_work_is_done(self):
        self.create("mayfly", exec_agent())
        self.assertEqual(self.wish("mayfly", "stop"), {"result": None})
        self.wait_agent("mayfly", "stopped")


class Others(Case):
    """With worlds of their own."""

    wish, wishes, assert_refused = Conversations.wish, Conversations.wishes, Conversations.assert_refused

    def test_a_checkpoint_that_an_agent_asks_for_is_answered_when_it_survives_a_crash(self):
        self.world.server()
        self.world.dispatcher()
        store = os.path.join(self.world.directory, "state.db")
        runtime = self.world.runtime("r1", agents={"careful": exec_agent(checkpoint_interval_ms=600000)},
                                     options={"runtime.state_store": f"sqlite:{store}"})
        self.client = self.world.client()
        self.wait_runtimes("r1")
        self.wait_agent("careful")
        for _ in range(3):
            self.assert_success(self.trigger_input("careful", {"do": "count"}))
        self.assertEqual(self.wish("careful", "checkpoint"), {"result": None})
        runtime.kill()
        runtime.start()
        self.wait_runtimes("r1")
        self.wait_agent("careful")
        self.assert_success(self.trigger_input("careful", {"do": "count"}), {"count": 4})

    def test_agents_of_two_runtimes_ask_and_trigger_each_other(self):
        self.world.server()
        self.world.dispatcher()
        self.client = self.world.client()
        for name, agents in (("r1", {"here": exec_agent({"answers": True})}), ("r2", {"there": exec_agent({"answers": True})})):
            self.world.runtime(name, agents=agents)
        self.wait_runtimes("r1", "r2")
        self.wait_agent("here")
        self.wait_agent("there", runtime="r2")
        for one, other in (("here", "there"), ("there", "here")):
            self.assertEqual(self.wish(one, "ask", agent_id=other, payload=one), {"result": one})
            self.assertEqual(self.wish(one, "trigger", agent_id=other, input={"do": "echo", "value": other}), {"result": other})

    def test_a_stop_of_the_runtime_does_not_wait_for_answers_that_never_come(self):
        self.world.server()
        self.world.dispatcher()
        self.client = self.world.client()
        runtime = self.world.runtime("r1", agents={"asker": exec_agent(), "silent": exec_agent({"at_topic": {"do": "hang"}})},
                                     options={"runtime.drain_timeout_ms": 500})
        self.wait_runtimes("r1")
        self.wait_agent("asker")
        self.wait_agent("silent")
        inbox = self.client.subscribe("asked.inbox")
        self.client.publish(f"{PREFIX}.commands.agent.adhoc.trigger.asker", {"payload": {"deadline_ms": 20000, "context": {"input": {
            "do": "wish", "method": "ask", "params": {"agent_id": "silent", "payload": 1, "timeout_ms": 20000}}}}}, "asked.inbox")
        wait_until("it asks", lambda: self.control("get_agent", "asker")["open"] == 1, 5)
        began = time.monotonic()
        self.assertEqual(runtime.terminate(), 0)
        self.assertLess(time.monotonic() - began, 18)
        result = inbox.next(scaled(5)).json()["payload"]  # of the agent that was told so, or of the runtime
        self.assertIn("error", result["result"]["output"] if result["status"] == "SUCCESS" else result["result"], result)
