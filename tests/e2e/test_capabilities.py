# SPDX-License-Identifier: MIT
"""What agents may call: capabilities are NATS services, here a few functions on a client of the tests."""

import json
import threading
import time

from harness import Case, exec_agent, in_time, scaled, wait_until


class Capabilities(Case):
    shared = True

    def build(self):
        self.world.server()
        self.world.dispatcher()
        self.runtime = self.world.runtime("r1", agents={"caller": exec_agent(max_concurrency=4)})
        self.client = self.world.client()
        self.services = self.world.client("services")
        self.wait_runtimes("r1")
        self.wait_agent("caller")

    def serve(self, capability, answer):
        """`answer`: from a message to the payload of the answer, or (payload, headers), or None for none. Returns the list of requests."""
        requests = []

        def on_request(message):
            requests.append(message)
            given = answer(message)
            if given is not None:
                payload, headers = given if isinstance(given, tuple) else (given, None)
                self.services.publish(message.reply, payload, headers=headers)

        self.services.subscribe(f"action.{capability}", on_request)
        self.services.flush()
        return requests

    def invoke(self, capability, agent="caller", **params):
        result = self.trigger_input(agent, {"do": "wish", "method": "invoke", "params": dict(params, capability=capability)})
        self.assert_success(result)
        return result["payload"]["result"]["output"]

    def invoke_many(self, n, capability, **params):
        result = self.trigger_input("caller", {"do": "wishes", "of": [["invoke", dict(params, capability=capability)]] * n})
        self.assert_success(result)
        return result["payload"]["result"]["output"]

    def assert_refused(self, answer, code, word=""):
        self.assertEqual(answer["error"]["data"]["code"], code, answer)
        self.assertIn(word, answer["error"]["message"])

    def test_a_call_has_the_services_output_and_says_who_calls(self):
        requests = self.serve("math.sum", lambda message: {"sum": sum(message.json()["of"])})
        self.assertEqual(self.invoke("math.sum", input={"of": [1, 2, 3]}), {"result": {"sum": 6}})
        [request] = requests
        self.assertEqual(request.headers["Compozy-Sender"], "agent.caller")
        self.assertTrue(request.headers["Compozy-Idempotency-Key"])
        self.assertEqual(self.invoke("math.sum", input={"of": []}), {"result": {"sum": 0}})
        self.assertNotEqual(requests[0].headers["Compozy-Idempotency-Key"], requests[1].headers["Compozy-Idempotency-Key"])

    def test_an_error_of_the_service_is_a_CAPABILITY_ERROR_with_its_sentence(self):
        self.serve("grumpy", lambda _: ("", {"Nats-Service-Error": "not on a Monday", "Nats-Service-Error-Code": "503"}))
        self.assert_refused(self.invoke("grumpy", input=1), "CAPABILITY_ERROR", "not on a Monday")

    def test_nobody_there_is_told_at_once(self):
        began = time.monotonic()
        self.assert_refused(self.invoke("no.such.thing", input=1), "CAPABILITY_NOT_FOUND", "no.such.thing")
        self.assertLess(time.monotonic() - began, in_time(0))

    def test_no_answer_is_a_TIMEOUT_and_the_next_call_is_made(self):
        requests = self.serve("lazy", lambda message: "1" if message.data == b"2" else None)
        began = time.monotonic()
        self.assert_refused(self.invoke("lazy", input=1, timeout_ms=300, idempotency_key="lazy-1"), "TIMEOUT", "no answer within")
        self.assertLess(time.monotonic() - began, in_time(0.3))
        self.assertEqual(self.invoke("lazy", input=2, idempotency_key="lazy-1"), {"result": 1})
        self.assertEqual(len(requests), 2)

    def test_calls_of_one_key_at_the_same_time_and_later_run_once(self):
        requests = self.serve("once", lambda message: None)
        answers = []
        call = {"input": {"a": 1}, "idempotency_key": "order-66"}
        caller = threading.Thread(target=lambda: answers.extend(self.invoke_many(10, "once", **call)))
        caller.start()
        wait_until("the service is asked", lambda: requests, 5)
        self.control("status")  # whatever the caller has said before is with the runtime
        self.services.publish(requests[0].reply, {"done": True})
        caller.join(scaled(10))
        self.assertEqual(answers, [{"result": {"done": True}}] * 10)
        self.assertEqual(self.invoke("once", input={"a": 1}, idempotency_key="order-66"), {"result": {"done": True}})
        self.services.flush()
        self.assertEqual(len(requests), 1)
        self.assertEqual(requests[0].headers["Compozy-Idempotency-Key"].count("order-66"), 1)

    def test_calls_of_different_keys_run_each(self):
        requests = self.serve("each", lambda message: {"n": json.loads(message.data)})
        calls = [["invoke", {"capability": "each", "input": number, "idempotency_key": f"k-{number}"}] for number in range(50)]
        result = self.trigger_input("caller", {"do": "wishes", "of": calls})
        self.assertEqual(result["payload"]["result"]["output"], [{"result": {"n": number}} for number in range(50)])
        self.assertEqual(len(requests), 50)

    def test_an_answer_that_is_no_JSON_arrives_as_text(self):
        self.serve("poet", lambda _: "roses are red")
        self.assertEqual(self.invoke("poet", input=None), {"result": {"payload_text": "roses are red"}})

    def test_a_capability_that_makes_no_subject_is_refused_and_nothing_else_is_reached(self):
        for capability in ("", "a b", "a.*", ">", "a..b", ".a"):
            answer = self.invoke(capability, input=1)
            self.assertIn(answer["error"]["code"], (-32602, -32000), capability)
        self.assertEqual(self.agent_state("caller"), "running")

    def test_failed_calls_never_end_the_agent(self):
        pid = self.trigger_input("caller", {"do": "pid"})["payload"]["result"]["output"]
        for _ in range(30):
            self.invoke("not.there", input=1)
        self.assertEqual(self.trigger_input("caller", {"do": "pid"})["payload"]["result"]["output"], pid)
        self.assertEqual(self.control("get_agent", "caller")["restarts"], 0)

    def test_calls_that_a_definition_does_not_name_are_refused_if_it_names_any(self):
        self.serve("allowed", lambda _: "1")
        self.serve("denied", lambda _: "1")
        self.create("modest", exec_agent(capabilities=["allowed"]))
        self.assertEqual(self.invoke("allowed", agent="modest", input=1), {"result": 1})
        self.assert_refused(self.invoke("denied", agent="modest", input=1), "CAPABILITY_NOT_FOUND", "denied")


class Outage(Case):
    def test_a_call_that_the_server_takes_down_with_it_times_out_and_the_next_works(self):
        self.world.server()
        self.world.dispatcher()
        self.world.runtime("r1", agents={"caller": exec_agent({"at_timer": {
            "do": "wish", "method": "invoke", "params": {"capability": "steady", "input": 1, "timeout_ms": 1500}}})})
        self.client = self.world.client()
        self.wait_runtimes("r1")
        self.wait_agent("caller")
        asked = self.client.subscribe("action.steady")
        self.trigger_input("caller", {"do": "wish", "method": "set_timer", "params": {"token": 1, "ms": 10}})
        asked.next(scaled(5))
        self.world.nats.kill()
        self.world.nats.start()
        self.client = self.world.client()
        self.wait_runtimes("r1", timeout=15)
        self.client.subscribe("action.steady", lambda message: self.client.publish(message.reply, "5"))
        result = self.trigger_input("caller", {"do": "wish", "method": "invoke", "params": {"capability": "steady", "input": 1}}, timeout=15)
        self.assert_success(result, {"result": 5})
