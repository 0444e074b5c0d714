# SPDX-License-Identifier: MIT
"""W3C Trace Context through everything that happens to a trigger or a message, and the spans that are sent to a collector."""

import os
import signal
import ssl
import subprocess
import time

import natsclient
from collector import Collector, new_trace
from harness import BIN, Case, exec_agent, in_time, scaled, wait_until

STATE = "vendor=1,other=2"
CLIENT, SERVER, CONSUMER = 3, 2, 5

# What an agent does with its one message: everything that emits something.
EVERYTHING = {"do": "wishes", "of": [
    ("publish", {"topic": "t.said", "payload": 1}), ("ask", {"agent_id": "peer", "payload": {"do": "echo", "value": 2}}),
    ("invoke", {"capability": "t.cap", "input": 3}), ("trigger", {"agent_id": "leaf", "input": 4}), ("set_timer", {"token": 1, "ms": 30})]}
AGENTS = {"root": exec_agent({"at_timer": {"do": "wish", "method": "publish", "params": {"topic": "t.ticked", "payload": 5}}}),
          "peer": exec_agent({"answers": True}), "leaf": "echo", "passer": {"agent_type": "relay", "parameters": {"to": "t.passed"}, "subscribed_topics": ["t.pass"]},
          "hearer": dict(exec_agent(), subscribed_topics=["t.said"]), "sleeper": "delay"}


class Traced(Case):
    shared = True
    options = {}

    def build(self):
        self.world.server()
        options = self.daemon_options()
        self.dispatcher = self.world.dispatcher(options=options)
        self.runtime = self.world.runtime("r1", AGENTS, options)
        self.client = self.world.client()
        self.wait_runtimes("r1")
        for agent in AGENTS:
            self.wait_agent(agent)
        self.met = {}  # the headers of what was emitted, by where
        for subject in ("t.said", "t.ticked", "t.passed"):
            self.client.subscribe(subject, lambda message: self.met.setdefault(message.subject, []).append(message.headers))
        self.client.subscribe("action.t.cap", self.provide)
        self.client.subscribe("compozy.events.agent.instance.*.*", lambda message: self.met.setdefault(
            message.subject.rpartition(".")[2], []).append(message.headers))

    def daemon_options(self):
        return {}

    def provide(self, message):
        self.met.setdefault("cap", []).append(message.headers)
        self.client.publish(message.reply, b"done")

    def do_everything(self, headers):
        self.met.clear()
        result = self.client.request("compozy.commands.agent.wf.trigger.root", {"payload": {"context": {"input": EVERYTHING}}}, scaled(8), headers)
        self.assert_success(result.json())
        answers = result.json()["payload"]["result"]["output"]
        self.assertEqual(["error" in answer for answer in answers], [False] * 5, answers)
        wait_until("the timer has fired", lambda: self.met.get("t.ticked"), 5)
        wait_until("both executions' events came", lambda: len(self.met.get("completed", [])) >= 2, 5)
        return result


class PassedThrough(Traced):
    def test_without_a_collector_a_trace_goes_through_everything_as_it_came(self):
        trace, _, _ = new_trace()
        headers = {"traceparent": trace, "tracestate": STATE}
        result = self.do_everything(headers)
        self.assertEqual({name: result.headers.get(name) for name in headers}, headers)
        for where in ("t.said", "cap", "t.ticked", "started", "completed"):
            for met in self.met[where]:
                self.assertEqual({name: met.get(name) for name in headers}, headers, where)

    def test_without_a_collector_no_trace_is_begun(self):
        result = self.do_everything(None)
        for met in [result.headers] + [one for many in self.met.values() for one in many]:
            self.assertNotIn("traceparent", met or {})
        self.assertFalse([name for name in self.dispatcher.metrics() if "tracing" in name])


class Exported(Traced):
    """With a collector that takes everything."""

    def daemon_options(self):
        self.collector = Collector()
        self.addClassCleanup(self.collector.close)
        return {"tracing.otlp_endpoint": self.collector.url}

    def test_every_hop_is_a_child_of_the_one_before_it(self):
        traceparent, trace, ours = new_trace()
        result = self.do_everything({"traceparent": traceparent, "tracestate": STATE})
        found = self.collector.wait(trace, [
            "dispatcher: trigger root", "runtime: handle root", "runtime: ask peer", "runtime: handle peer", "runtime: invoke t.cap",
            "runtime: trigger leaf", "dispatcher: trigger leaf", "runtime: handle leaf", "runtime: handle hearer", "runtime: timer root"])
        self.assertEqual(len(self.collector.of_trace(trace)), 10, self.collector.of_trace(trace))
        root = found["runtime: handle root"]
        for child, parent in (("runtime: handle root", "dispatcher: trigger root"), ("runtime: ask peer", "runtime: handle root"),
                              ("runtime: handle peer", "runtime: ask peer"), ("runtime: invoke t.cap", "runtime: handle root"),
                              ("runtime: trigger leaf", "runtime: handle root"), ("dispatcher: trigger leaf", "runtime: trigger leaf"),
                              ("runtime: handle leaf", "dispatcher: trigger leaf"), ("runtime: handle hearer", "runtime: handle root"),
                              ("runtime: timer root", "runtime: handle root")):
            self.assertEqual(found[child].parent, found[parent].id, f"{child} in {parent}: {found}")
            self.assertGreaterEqual(found[child].start, found[parent].start - 2_000_000, (child, parent))
        self.assertEqual(found["dispatcher: trigger root"].parent, ours)
        self.assertEqual(len({span.id for span in found.values()}), 10)
        for span in found.values():
            self.assertEqual((span.flags, span.state, span.status), (1, STATE, {}), span)
        # What others are told names the span that it came from.
        for where, span in (("t.said", root), ("cap", found["runtime: invoke t.cap"]), ("t.ticked", found["runtime: timer root"])):
            self.assertIn("traceparent", self.met[where][0], (where, self.met))
            self.assertEqual(self.met[where][0]["traceparent"], f"00-{trace}-{span.id}-01", where)
            self.assertEqual(self.met[where][0]["tracestate"], STATE)
        self.assertEqual(result.headers["traceparent"], f"00-{trace}-{root.id}-01")

    def test_spans_say_what_happened_in_the_words_of_opentelemetry(self):
        traceparent, trace, _ = new_trace()
        result = self.client.request("compozy.commands.agent.wf.trigger.sleeper", {"payload": {"context": {"input": {"ms": 50}}}}, scaled(8),
                                     {"traceparent": traceparent}).json()
        found = self.collector.wait(trace, ["dispatcher: trigger sleeper", "runtime: handle sleeper"])
        dispatched, handled = found["dispatcher: trigger sleeper"], found["runtime: handle sleeper"]
        wanted = {"messaging.system": "nats", "messaging.operation.type": "process", "messaging.operation.name": "trigger",
                  "messaging.destination.name": "compozy.commands.agent.wf.trigger.sleeper", "messaging.consumer.group.name": "compozy-dispatchers",
                  "messaging.message.conversation_id": result["metadata"]["correlation_id"], "compozy.agent.id": "sleeper",
                  "compozy.workflow.id": "wf", "compozy.exec_id": result["agent"]["exec_id"], "compozy.status": "SUCCESS", "compozy.attempts": 1}
        self.assertEqual({key: dispatched.attributes.get(key) for key in wanted}, wanted)
        self.assertEqual([(name, what) for name, _, what in dispatched.events], [("placed", {"compozy.attempt": 1, "compozy.runtime.id": "r1"})])
        wanted = {"messaging.system": "nats", "compozy.agent.id": "sleeper", "compozy.exec_id": result["agent"]["exec_id"],
                  "compozy.runtime.id": "r1", "compozy.status": "SUCCESS", "compozy.attempt": 1}
        self.assertEqual({key: handled.attributes.get(key) for key in wanted}, wanted)
        self.assertEqual([name for name, _, _ in handled.events], ["started"])
        self.assertEqual((dispatched.kind, handled.kind), (SERVER, SERVER))
        self.assertGreaterEqual(handled.end - handled.start, 50_000_000)
        self.assertGreaterEqual(dispatched.end - dispatched.start, 50_000_000)
        self.assertLess(abs(dispatched.start / 1e9 - time.time()), scaled(30))
        self.assertEqual((dispatched.resource["service.instance.id"], handled.resource["service.instance.id"]), ("d1", "r1"))

    def test_errors_are_the_spans_errors(self):
        traceparent, trace, _ = new_trace()
        self.assert_failure(self.trigger("nobody", headers={"traceparent": traceparent}), "AGENT_UNKNOWN")
        span = self.collector.wait(trace, ["dispatcher: trigger nobody"])["dispatcher: trigger nobody"]
        self.assertEqual(span.attributes["error.type"], "AGENT_UNKNOWN")
        self.assertIn("nobody", span.status["message"])
        traceparent, trace, _ = new_trace()
        self.assert_failure(self.trigger("root", {"payload": {"context": {"input": {"do": "error", "message": "no \"luck\""}}}},
                                         headers={"traceparent": traceparent}), "INTERNAL", "AGENT_ERROR")
        found = self.collector.wait(trace, ["dispatcher: trigger root", "runtime: handle root"])
        self.assertEqual(found["runtime: handle root"].status["message"], "no \"luck\"")
        self.assertEqual({span.attributes["error.type"] for span in found.values()}, {"INTERNAL"})
        traceparent, trace, _ = new_trace()
        self.assert_failure(self.trigger("root", b"{", headers={"traceparent": traceparent}), "INVALID_MESSAGE")
        self.collector.wait(trace, ["dispatcher: trigger root"])

    def test_a_trigger_and_a_message_without_a_trace_begin_one_and_a_bad_one_counts_as_none(self):
        for bad in (None, "00-" + "0" * 32 + "-b7ad6b7169203331-01", "00-xyz", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"):
            headers = {"traceparent": bad, "tracestate": "theirs=1"} if bad else None
            answer = self.client.request("compozy.commands.agent.wf.trigger.leaf", {}, scaled(8), headers)
            _, trace, span, flags = answer.headers["traceparent"].split("-")
            found = self.collector.wait(trace, ["dispatcher: trigger leaf", "runtime: handle leaf"])
            self.assertIsNone(found["dispatcher: trigger leaf"].parent)
            self.assertEqual((found["runtime: handle leaf"].id, flags), (span, "01"))
            self.assertNotIn("tracestate", answer.headers)
        self.met.clear()
        marker = f"from-{time.monotonic_ns()}"
        self.client.publish("t.said", "x", headers={"Compozy-Correlation-Id": marker})

        def heard():
            return {span.name: span for span in list(self.collector.spans) if span.attributes.get("messaging.message.conversation_id") == marker}

        found = wait_until("the message is two spans", lambda: heard() if len(heard()) == 2 else None, 8)
        self.assertIsNone(found["receive t.said"].parent)
        self.assertEqual(found["handle hearer"].parent, found["receive t.said"].id)
        self.assertEqual(found["handle hearer"].kind, CONSUMER)

    def test_what_is_not_sampled_passes_as_it_came_and_is_told_of_nowhere(self):
        traceparent, trace, _ = new_trace("00")
        result = self.do_everything({"traceparent": traceparent, "tracestate": STATE})
        self.assertEqual(result.headers["traceparent"], traceparent)
        for where in ("t.said", "cap", "t.ticked"):
            self.assertEqual((self.met[where][0]["traceparent"], self.met[where][0]["tracestate"]), (traceparent, STATE), where)
        after, following, _ = new_trace()
        self.trigger("leaf", headers={"traceparent": after})
        self.collector.wait(following, ["dispatcher: trigger leaf", "runtime: handle leaf"])
        self.assertEqual(self.collector.of_trace(trace), [])

    def test_what_a_behaviour_in_the_runtimes_own_process_passes_on_names_its_span(self):
        traceparent, trace, ours = new_trace()
        self.met.clear()
        self.client.publish("t.pass", "x", headers={"traceparent": traceparent, "tracestate": STATE})
        span = self.collector.wait(trace, ["runtime: handle passer"])["runtime: handle passer"]
        self.assertEqual(span.parent, ours)
        met = wait_until("it is passed on", lambda: self.met.get("t.passed"), 5)[0]
        self.assertEqual((met["traceparent"], met["tracestate"]), (f"00-{trace}-{span.id}-01", STATE))

    def test_a_repeated_trigger_is_a_span_of_its_own_that_says_so(self):
        first, trace, _ = new_trace()
        again, other, _ = new_trace()
        body = {"agent": {"exec_id": f"twice-{time.monotonic_ns()}"}, "payload": {"context": {"input": {"ms": 100}}}}
        inbox = self.client.subscribe(f"{self.client.inbox}.twice")
        for traceparent in (first, again):
            self.client.publish("compozy.commands.agent.wf.trigger.sleeper", body, inbox.subject, {"traceparent": traceparent})
        self.assert_success(inbox.next(scaled(5)).json())
        self.collector.wait(trace, ["dispatcher: trigger sleeper", "runtime: handle sleeper"])
        span = self.collector.wait(other, ["dispatcher: trigger sleeper"])["dispatcher: trigger sleeper"]
        self.assertEqual((span.attributes["compozy.repeat"], span.attributes["compozy.exec_id"]), ("true", body["agent"]["exec_id"]))

    def test_an_agents_own_span_is_the_parent_of_what_it_publishes_with_it(self):
        own, trace, span = new_trace()
        self.met.clear()
        self.assert_success(self.trigger_input("root", {"do": "wish", "method": "publish", "params": {
            "topic": "t.said", "payload": 1, "headers": {"traceparent": own, "tracestate": "mine=1"}}}))
        found = self.collector.wait(trace, ["runtime: handle hearer"])["runtime: handle hearer"]
        self.assertEqual((found.parent, found.state), (span, "mine=1"))


class Moved(Case):
    waits = True

    def test_a_trigger_that_was_moved_tells_of_each_attempt(self):
        collector = Collector()
        self.addCleanup(collector.close)
        self.world.server()
        options = {"tracing.otlp_endpoint": collector.url}
        self.world.dispatcher(options=options)
        self.client = self.world.client()
        lost = self.world.runtime("r1", {"patient": exec_agent()}, dict(options, **{"runtime.heartbeat_interval_ms": 100}))
        self.wait_runtimes("r1")
        traceparent, trace, _ = new_trace()
        inbox, done = self.client.subscribe(f"{self.client.inbox}.moved"), os.path.join(self.world.directory, "done")
        self.client.publish("compozy.commands.agent.wf.trigger.patient", {
            "payload": {"retry": "always", "context": {"input": {"do": "wait_for", "path": done}}}}, inbox.subject, {"traceparent": traceparent})
        wait_until("it is with r1", lambda: self.runtimes()["r1"]["in_flight"] == 1, 5)
        lost.kill()
        self.world.runtime("r2", {"patient": exec_agent()}, options)
        open(done, "w", encoding="ascii").close()
        self.assert_success(inbox.next(scaled(15)).json())
        span = collector.wait(trace, ["dispatcher: trigger patient", "runtime: handle patient"])["dispatcher: trigger patient"]
        told = [(name, what["compozy.attempt"], what["compozy.runtime.id"], what.get("error.type")) for name, _, what in span.events]
        self.assertEqual(told, [("placed", 1, "r1", None), ("attempt failed", 1, "r1", "RUNTIME_LOST"), ("placed", 2, "r2", None)])
        self.assertEqual(span.attributes["compozy.attempts"], 2)


class Sampling(Case):
    def test_the_share_that_begins_a_trace_is_as_configured_and_the_rest_is_marked(self):
        collector = Collector()
        self.addCleanup(collector.close)
        self.world.server()
        options = {"tracing.otlp_endpoint": collector.url + "/v1/traces/"}
        dispatcher = self.world.dispatcher(options=dict(options, **{"tracing.sample": "0.5"}))
        self.world.runtime("r1", {"leaf": "echo"}, dict(options, **{"tracing.sample": "0"}))
        self.client = self.world.client()
        self.wait_runtimes("r1")
        flags = [self.client.request("compozy.commands.agent.wf.trigger.leaf", {}, scaled(8)).headers["traceparent"][-2:] for _ in range(200)]
        self.assertEqual(set(flags), {"00", "01"})
        self.assertTrue(60 <= flags.count("01") <= 140, flags.count("01"))
        n = flags.count("01")
        wait_until("all that were sampled arrived, twice each", lambda: len(collector.spans) == 2 * n, 8)
        # The runtime's own share is 0: nothing begins there.
        self.client.publish("agent.leaf.replies", "x", headers={"Compozy-Correlation-Id": "unsampled"})
        self.assert_success(self.trigger("leaf"))
        wait_until("the dispatcher's counter agrees", lambda: dispatcher.metrics()["compozy_tracing_spans_exported_total"] in (n, n + 1), 8)
        self.assertFalse([span for span in collector.spans if span.name.startswith("receive")])
        self.assertEqual({path for _, path, _, _ in collector.requests}, {"/v1/traces"})


    def test_a_reload_changes_the_share(self):
        collector = Collector()
        self.addCleanup(collector.close)
        self.world.server()
        path = os.path.join(self.world.directory, "d.conf")

        def configure(sample):
            with open(path, "w", encoding="ascii") as file:
                file.write(f"[tracing]\notlp_endpoint = {collector.url}\nsample = {sample}\n")

        configure(0)
        dispatcher = self.world.dispatcher(arguments=("-c", path))
        self.world.runtime("r1", {"leaf": "echo"})
        self.client = self.world.client()
        self.wait_runtimes("r1")

        def is_traced():
            return "traceparent" in (self.client.request("compozy.commands.agent.wf.trigger.leaf", {}, scaled(8)).headers or {})

        self.assertFalse(is_traced())
        configure(1)
        dispatcher.signal(signal.SIGHUP)
        wait_until("traces are begun", is_traced, 5)
        wait_until("and told of", lambda: collector.spans, 5)


class Trouble(Case):
    """A collector that does not do as it should costs spans and nothing else."""

    waits = True

    def build(self):
        self.collector = Collector()
        self.addCleanup(lambda: self.collector.close())
        self.world.server()
        self.headers_file = os.path.join(self.world.directory, "headers")
        with open(self.headers_file, "w", encoding="ascii") as file:
            file.write("# ours\nAuthorization: Bearer secret-of-ours\n\nX-Tenant: seven\n")
        options = {"tracing.otlp_endpoint": self.collector.url, "tracing.queue_limit": 64, "tracing.headers_file": self.headers_file}
        self.dispatcher = self.world.dispatcher(options=options)
        self.runtime = self.world.runtime("r1", {"leaf": "echo"}, options)
        self.client = self.world.client()
        self.wait_runtimes("r1")

    def counts(self, daemon=None):
        found = (daemon or self.dispatcher).metrics()
        return [int(found[f"compozy_tracing_spans_{name}"]) for name in ("exported_total", "dropped_total", "waiting")]

    def work(self, n=20):
        """Triggers that are all answered, soon."""
        began = time.monotonic()
        for _ in range(n):
            self.assert_success(self.trigger("leaf"))
        self.assertLess(time.monotonic() - began, in_time(0))

    def settled(self, n):
        """All spans of the dispatcher are accounted for."""
        wait_until(f"{n} spans are exported or dropped", lambda: sum(self.counts()[:2]) == n and self.counts()[2] == 0, 10)
        return self.counts()

    def test_what_is_answered_with_an_error_is_dropped_and_counted_and_work_goes_on(self):
        total = 0
        for mode in (400, 404, 500, 301, "rejects"):
            self.collector.mode = mode
            before = self.counts()
            self.work()
            total += 20
            self.collector.wait_requests(mode, 2)
            exported, dropped, _ = self.settled(total)
            self.assertEqual((exported - before[0], dropped - before[1]), (0, 20), mode)
        self.collector.mode = "ok"
        self.work()
        exported, _, _ = self.settled(total + 20)
        self.assertEqual(exported, 20)
        for daemon in (self.dispatcher, self.runtime):
            daemon.wait_log("Spans could not be sent to the collector: the collector answered 400")
            daemon.wait_log("Spans arrived at the collector again")
            self.assertNotIn("secret", daemon.log())
        sent = self.collector.requests[0][2]
        self.assertEqual((sent["Authorization"], sent["X-Tenant"], sent["Content-Type"]), ("Bearer secret-of-ours", "seven", "application/json"))

    def test_what_may_be_tried_again_is_and_arrives_then(self):
        for mode in (503, 429, "garbage"):
            self.collector.mode, self.collector.retry_after = mode, (1 if mode == 429 else None)
            before = self.counts()
            self.work(10)
            self.collector.wait_requests(mode, 2)
            self.collector.mode = "ok"
            wait_until(f"the spans arrive after {mode}", lambda before=before: self.counts()[0] - before[0] == 10, 10)
            self.assertEqual(self.counts()[1:], [0, 0])

    def test_a_collector_that_hangs_or_is_gone_costs_what_does_not_fit_the_queue(self):
        self.collector.mode = "hang"
        self.work(10)
        self.collector.wait_requests("hang", 2)
        self.work(200)
        wait_until("all spans are accounted for", lambda: sum(self.counts()) == 210, 5)
        exported, _, waiting = self.counts()
        self.assertEqual(exported, 0)
        self.assertLessEqual(waiting, 64)
        self.collector.close()
        self.dispatcher.wait_log("Spans could not be sent to the collector: ")
        self.work(20)
        self.collector = Collector(self.collector.held)
        wait_until("what waited arrives", lambda: self.counts()[2] == 0 and self.counts()[0] > 0, 15)
        wait_until("all spans are accounted for", lambda: sum(self.counts()) == 230, 5)
        self.assertEqual(self.collector.troubles, [])
        for daemon in (self.dispatcher, self.runtime):
            self.assertEqual(daemon.get("/healthz")[0], 200)

    def test_a_stop_sends_what_is_left_and_waits_for_no_collector_that_hangs(self):
        traceparent, trace, _ = new_trace()
        self.trigger("leaf", headers={"traceparent": traceparent})
        self.assertEqual(self.runtime.terminate(), 0)
        self.collector.wait(trace, ["runtime: handle leaf"])
        self.collector.mode = "hang"
        self.trigger("nobody", headers={"traceparent": traceparent})
        self.collector.wait_requests("hang")
        began = time.monotonic()
        self.assertEqual(self.dispatcher.terminate(), 0)
        self.assertLess(time.monotonic() - began, in_time(2))


class Https(Case):
    waits = True

    def build(self):
        key, self.certificate = (os.path.join(self.world.directory, name) for name in ("key.pem", "certificate.pem"))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key,
                        "-out", self.certificate, "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"],
                       check=True, capture_output=True, timeout=30)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(self.certificate, key)
        self.collector = Collector(tls=tls)
        self.addCleanup(self.collector.close)
        self.world.server()
        self.client = self.world.client()

    def trace_of_nobody(self):
        traceparent, trace, _ = new_trace()
        self.assert_failure(self.trigger("nobody", headers={"traceparent": traceparent}), "AGENT_UNKNOWN")
        return trace

    def test_spans_go_to_no_collector_whose_certificate_nobody_vouches_for(self):
        dispatcher = self.world.dispatcher(options={"tracing.otlp_endpoint": self.collector.url})
        self.trace_of_nobody()
        dispatcher.wait_log("Spans could not be sent to the collector: .*(certificate|SSL)")
        self.assertEqual((self.collector.requests, self.collector.spans), ([], []))

    def test_spans_go_to_a_collector_of_our_own_ca(self):
        self.world.dispatcher(options={"tracing.otlp_endpoint": self.collector.url, "tracing.tls_ca": self.certificate})
        self.collector.wait(self.trace_of_nobody(), ["dispatcher: trigger nobody"])


class Configured(Case):
    shared = True

    def refusal(self, program, **options):
        arguments = [word for key, value in options.items() for word in ("-o", f"tracing.{key}={value}")]
        done = subprocess.run([os.path.join(BIN, program), "--check-config", *arguments], capture_output=True, text=True, timeout=scaled(10), check=False)
        return "" if done.returncode == 0 else done.stderr

    def test_what_can_not_be_used_is_named_and_no_secret_is_shown(self):
        path = os.path.join(self.world.directory, "headers")
        with open(path, "w", encoding="ascii") as file:
            file.write("Good: 1\nBearer secret-of-ours\n")
        good, https = {"otlp_endpoint": "http://localhost:4318"}, {"otlp_endpoint": "https://localhost:4318"}
        for program in ("compozy-dispatcherd", "compozy-runtimed"):
            self.assertEqual(self.refusal(program, **good), "")
            self.assertEqual(self.refusal(program, otlp_endpoint="https://collector.example/otlp/v1/traces"), "")
            for options, words in (({"otlp_endpoint": "localhost:4318"}, ("tracing.otlp_endpoint", "http://localhost:4318")),
                                   ({"otlp_endpoint": "ftp://localhost"}, ("tracing.otlp_endpoint", "ftp://")),
                                   ({"otlp_endpoint": "http://me:secret-of-ours@localhost:4318"}, ("tracing.otlp_endpoint", "tracing.headers_file")),
                                   ({"otlp_endpoint": "http://localhost:4318/?key=secret-of-ours"}, ("tracing.otlp_endpoint", "?")),
                                   (dict(good, headers_file="/no/such/file"), ("tracing.headers_file", "/no/such/file", "No such file")),
                                   (dict(good, headers_file=path), ("tracing.headers_file", path + ":2")),
                                   (dict(good, headers_file="/dev/zero"), ("tracing.headers_file", "16384 bytes")),
                                   (dict(good, tls_ca=path), ("tracing.tls_ca", "no https://")),
                                   (dict(https, tls_ca="/no/such/file"), ("tracing.tls_ca", "/no/such/file", "No such file")),
                                   (dict(https, tls_ca=path), ("tracing.tls_ca", path, "no certificate in PEM")),
                                   (dict(https, tls_ca="/dev/zero"), ("tracing.tls_ca", "1048576 bytes")),
                                   (dict(good, sample="2"), ("tracing.sample", "2")), (dict(good, queue_limit="1"), ("tracing.queue_limit", "64"))):
                text = self.refusal(program, **options)
                for word in words:
                    self.assertIn(word, text, options)
                self.assertNotIn("secret", text)

    def test_without_libcurl_tracing_is_refused_and_everything_else_works(self):
        with open(os.path.join(self.world.directory, "libcurl.so.4"), "wb"):
            pass  # what stands in its place is no library
        environment = dict(os.environ, LD_LIBRARY_PATH=self.world.directory)
        for program in ("compozy-dispatcherd", "compozy-runtimed"):
            command = [os.path.join(BIN, program), "--check-config"]
            done = subprocess.run([*command, "-o", "tracing.otlp_endpoint=http://localhost:4318"], env=environment, capture_output=True,
                                  text=True, timeout=scaled(10), check=False)
            self.assertNotEqual(done.returncode, 0)
            self.assertRegex(done.stderr, r"tracing.otlp_endpoint: .*libcurl\.so\.4.*package is libcurl4")
            self.assertEqual(subprocess.run(command, env=environment, capture_output=True, timeout=scaled(10), check=False).returncode, 0)

    def test_the_environments_endpoint_is_the_default(self):
        collector = Collector()
        self.addCleanup(collector.close)
        self.world.server()
        daemon = self.world.dispatcher("d-env", wait=False)
        daemon.kill()
        daemon.environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.url
        daemon.start()
        self.client = self.world.client()
        traceparent, trace, _ = new_trace()
        with self.assertRaises(natsclient.TimedOut):
            self.client.request("compozy.commands.agent.wf.trigger.nobody", {"payload": {"reply_to_subject": "nowhere.at.all"}}, 0.05,
                                {"traceparent": traceparent})
        collector.wait(trace, ["dispatcher: trigger nobody"])
