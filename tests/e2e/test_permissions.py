# SPDX-License-Identifier: MIT
"""
What compozyctl nats-config makes: a server with it, daemons and clients with the keys of their roles. Everything that the system does works,
and whatever a role may not do is refused by the server, and has no effect.
"""

import json
import os
import re
import shutil

from harness import DEFINITIONS, INSTANCES, PREFIX, VERBS, Case, exec_agent, scaled, wait_until

OPTIONS = ["--runtime", "r1:greeter,helper", "--runtime", "r2", "--operator", "alice", "--observer", "olga", "--caller", "web:greeter,asker",
           "--caller", "batch", "--service", "bank:pay.*", "--topic", "thread.>", "--topic", "news"]


class Permissions(Case):
    shared = True

    def build(self):
        self.directory = os.path.join(self.world.directory, "made")
        self.generate()
        self.world.server(config=os.path.join(self.directory, "nats.conf"), access=self.access("operator", "alice"))
        self.dispatcher = self.world.dispatcher("d1", arguments=["-c", f"{self.directory}/dispatcher-main.conf"])
        self.r1 = self.runtime("r1", {"asker": exec_agent(max_concurrency=4, subscribed_topics=["news"]), "greeter": "echo"})
        self.r2 = self.runtime("r2", {"helper": "echo", "secret": exec_agent(max_concurrency=4)})
        self.alice, self.olga = self.join("operator", "alice"), self.join("observer", "olga")
        self.web, self.batch, self.bank = self.join("caller", "web"), self.join("caller", "batch"), self.join("service", "bank")
        self.client = self.alice
        self.wait_runtimes("r1", "r2")
        self.wait_agent("asker")
        self.wait_agent("secret", runtime="r2")
        contexts = os.path.join(self.world.directory, "home", ".config", "compozy", "contexts")
        shutil.copytree(os.path.join(self.directory, "contexts"), contexts)

    def generate(self, *more):
        return self.ctl_ok("nats-config", "--output", self.directory, *OPTIONS, *more, url="nats://127.0.0.1:1")

    def access(self, role, name):
        with open(os.path.join(self.directory, "keys", f"{role}-{name}.nk"), encoding="ascii") as file:
            return {"seed": file.read(), "inbox": f"_INBOX.{role}.{name}"}

    def join(self, role, name):
        return self.world.client(f"{role} {name}", **self.access(role, name))

    def runtime(self, name, agents):
        return self.world.runtime(name, agents, arguments=["-c", f"{self.directory}/runtime-{name}.conf"])

    def wish(self, agent, method, client=None, **params):
        result = self.trigger(agent, {"payload": {"context": {"input": {"do": "wish", "method": method, "params": params}}}},
                              client=client or self.alice)
        self.assert_success(result)
        return result["payload"]["result"]["output"]

    def refused(self, client):
        """The server's refusals of what was said so far, and since it was asked last."""
        client.flush()
        errors, client.errors = client.errors, []
        return errors

    def assert_refused(self, client, n=1):
        errors = self.refused(client)
        self.assertEqual(len(errors), n, errors)
        for error in errors:
            self.assertIn("Permissions Violation", error)

    # everything works

    def test_a_topic_that_the_server_forbids_is_marked_with_the_agent_that_has_it(self):
        def marks(agent="asker"):
            return {one["topic"]: one["refused"] for one in self.control("get_agent_subscriptions", agent)["subscriptions"]}

        self.control("subscribe_agent", {"agent_id": "asker", "topic": "forbidden.>", "queue": "readers"})
        wait_until("the server's word is heard", lambda: marks() == {"agent.asker.replies": False, "news": False, "forbidden.>": True})
        self.assertEqual(self.r1.metrics()["compozy_runtime_nats_subscriptions_refused"], 1)
        self.assertIn("Agent asker could not be subscribed to forbidden.>: the NATS server's permissions forbid it", self.r1.log())
        told = self.ctl_ok("--context", "operator-alice", "--server", self.world.nats.url, "agent", "subscriptions", "asker")
        self.assertRegex(told, r"forbidden\.> +readers +batched +- +no: the NATS server's permissions forbid it")
        self.control("unsubscribe_agent", {"agent_id": "asker", "topic": "forbidden.>"})
        self.assertEqual(self.control("status")["subscriptions_refused"], 0)

    def test_a_caller_triggers_and_is_answered_and_hears_of_results_sent_to_its_own_subject(self):
        self.assert_success(self.trigger("greeter", {"payload": {"context": {"input": 1}}}, client=self.web), 1)
        self.assert_success(self.trigger("helper", {"payload": {"context": {"input": 2}}}, client=self.batch), 2)
        mine = self.web.subscribe(f"{PREFIX}.results.caller.web.*")
        self.web.flush()
        self.web.publish(f"{PREFIX}.commands.agent.adhoc.trigger.greeter", {
            "payload": {"reply_to_subject": f"{PREFIX}.results.caller.web.1", "context": {"input": 3}}})
        self.assert_success(mine.next(scaled(5)).json(), 3)
        self.assertEqual(self.web.request("agent.greeter.replies", "4", scaled(5)).data, b"4")
        self.assertEqual(self.refused(self.web), [])

    def test_an_operator_commands_with_compozyctl_and_its_context(self):
        def ctl(*words):
            return self.ctl_ok("--context", "operator-alice", "--server", self.world.nats.url, *words)

        self.assertIn("r1", ctl("runtimes"))
        self.assertIn("d1", ctl("status"))
        ctl("runtime", "drain", "r2")
        self.wait_runtimes_in({"r1": "live", "r2": "draining"})
        ctl("runtime", "resume", "r2")
        self.wait_runtimes("r1", "r2")
        definition = {"agent_id": "made", "agent_type": "counter"}
        self.verb_ok("create_agent", definition, client=self.alice)
        self.assert_success(self.trigger("made", {}, client=self.batch))
        ctl("agent", "delete", "made")

    def test_compozyctl_triggers_sends_watches_and_measures_for_those_who_may(self):
        def ctl(context, *words):
            return self.ctl("--context", context, "--server", self.world.nats.url, "--timeout", "60s", *words, timeout=20)

        for context, words in (("caller-web", ("trigger", "greeter", "1", "--wait")), ("caller-web", ("trigger", "greeter", "-n", 20)),
                               ("caller-web", ("send", "agent.greeter.replies", "1", "--wait")), ("operator-alice", ("trigger", "greeter", "-n", 20)),
                               ("operator-alice", ("events", "-n", 1)), ("operator-alice", ("bench", "-d", "100ms", "--compare"))):
            done = ctl(context, *words)
            self.assertEqual(done.returncode, 0, (words, done.stdout, done.stderr))
            self.assertTrue(done.stdout, words)
        for words in (("trigger", "helper", "--wait"), ("trigger", "helper"), ("trigger", "helper", "-n", 20), ("send", "secret.topic", "x"),
                      ("send", "secret.topic", "x", "--wait"), ("events",), ("events", "-f"), ("bench",)):
            done = ctl("caller-web", *words)
            self.assertEqual(done.returncode, 3, (words, done.stdout, done.stderr))
            self.assertIn("NATS does not allow", done.stderr, words)

    def wait_runtimes_in(self, states):
        wait_until(f"runtimes are {states}", lambda: {key: record["state"] for key, record in self.runtimes().items()} == states, 10)

    def test_agents_ask_trigger_invoke_and_publish_as_far_as_their_runtime_may(self):
        self.bank.subscribe("action.pay.*", lambda message: self.bank.publish(message.reply, b'{"paid": 5}'))
        self.bank.flush()
        self.assertEqual(self.wish("asker", "invoke", capability="pay.invoice", input={}), {"result": {"paid": 5}})
        self.assertEqual(self.wish("asker", "ask", agent_id="helper", payload=6)["result"], 6)
        self.assertEqual(self.wish("asker", "trigger", agent_id="helper", input=7)["result"], 7)
        heard = self.web.subscribe("thread.*.said")
        self.web.flush()
        self.wish("asker", "publish", topic="thread.1.said", payload=8)
        self.assertEqual(heard.next(scaled(5)).data, b"8")
        self.web.publish("news", "9")
        wait_until("asker hears the news", lambda: "9" in json.dumps(self.trigger_input("asker", {"do": "seen"})), 5)
        self.assertEqual(self.refused(self.bank), [])

    def test_an_observer_hears_events_and_reads_records(self):
        events = self.olga.subscribe(f"{INSTANCES}.*.completed")
        self.olga.flush()
        self.trigger("greeter", client=self.web)
        events.next_where(lambda message: message.json()["agent"]["id"] == "greeter", scaled(5))  # others may come late
        record = wait_until("r1's record is there", lambda: self.olga.js_last("KV_compozy_runtimes", "$KV.compozy_runtimes.r1"), 10)
        self.assertEqual(json.loads(record)["agent_runtime"]["runtime_id"], "r1")
        self.assertEqual(self.refused(self.olga), [])

    def test_service_discovery_finds_all(self):
        answers = self.alice.request_many("$SRV.PING", window=scaled(5), enough=3)
        self.assertEqual(sorted(answer.json()["name"] for answer in answers), ["compozy-dispatcher", "compozy-runtime", "compozy-runtime"])

    def test_z_the_daemons_were_refused_nothing_but_what_the_tests_had_them_try(self):
        """Last of its class: what the ones above made the daemons do is in the logs."""
        self.trigger_input("greeter", 1)
        for process, allowed in ((self.dispatcher, r"action.pay.invoice|agent.helper.replies|other.topic"), (self.r1, r"forbidden\.>"), (self.r2, r"agent.adhoc.trigger.greeter|agent.greeter.replies|action.shutdown")):
            for line in process.log(since=0).splitlines():
                if "ermissions" in line:
                    self.assertRegex(line, allowed)

    # and nothing else does

    def test_a_runtime_registers_only_itself_and_speaks_for_no_other(self):
        rogue = self.join("runtime", "r1")
        epoch = self.runtimes()["r2"]["epoch"]
        for what in ("registered", "updated", "deregistered", "heartbeat"):
            rogue.publish(f"{DEFINITIONS}.r2.{what}", {"agent_runtime": {"runtime_id": "r2", "epoch": epoch}, "payload": {}})
            rogue.publish(f"{DEFINITIONS}.ghost.{what}", {"agent_runtime": {"runtime_id": "ghost", "epoch": 1}, "payload": {}})
        self.assert_refused(rogue, 8)
        rogue.publish(f"{PREFIX}.dispatcher.d1.report.r2", {"agent_runtime": {"runtime_id": "r2", "epoch": epoch}, "payload": {}})
        rogue.publish("_INBOX.dispatcher.d1.x.p.r2", {"ok": True, "result": {"epoch": epoch}})
        rogue.publish("_INBOX.dispatcher.d1.x.j.events", "{}")
        rogue.publish("_INBOX.runtime.r2.x.register.1", {"ok": False})
        self.assert_refused(rogue, 4)
        rogue.publish(f"{VERBS}.register_runtime", {"agent_runtime": {"runtime_id": "ghost", "epoch": 1}})
        self.assert_refused(rogue)
        # in another's name on its own subject: the server lets it through, the dispatcher does not believe it
        before = self.dispatcher.metrics()["compozy_dispatcher_invalid_messages_total"]
        rogue.publish(f"{DEFINITIONS}.r1.deregistered", {"agent_runtime": {"runtime_id": "r2", "epoch": epoch}, "payload": {}})
        rogue.publish(f"{PREFIX}.dispatcher.d1.report.r1", {"agent_runtime": {"runtime_id": "r2", "epoch": epoch}, "payload": {}})
        self.assertEqual(self.refused(rogue), [])
        wait_until("both are refused", lambda: self.dispatcher.metrics()["compozy_dispatcher_invalid_messages_total"] == before + 2, 5)
        self.assertEqual(set(self.runtimes()), {"r1", "r2"})
        self.assertEqual(self.runtimes()["r2"]["epoch"], epoch)

    def test_a_runtimes_connection_gives_no_commands(self):
        rogue = self.join("runtime", "r2")
        for subject in (f"{PREFIX}.commands.agent.adhoc.trigger.greeter", f"{PREFIX}.runtime.r1.trigger", f"{PREFIX}.runtime.r1.control.drain",
                        f"{VERBS}.drain_runtime", f"{PREFIX}.dispatcher.d1.control.status", f"{PREFIX}.commands.agent_runtime.announce",
                        "agent.greeter.replies", "action.shutdown", "$JS.API.STREAM.DELETE.COMPOZY_EVENTS", "$KV.compozy_runtimes.r1",
                        "another.topic"):
            rogue.publish(subject, {"runtime_id": "r1"})
            self.assert_refused(rogue)
        self.wait_runtimes("r1", "r2")  # not draining, that is: a moment's silence makes one suspect
        # its agents neither, whatever their behaviours want
        for method, params in (("trigger", {"agent_id": "greeter", "input": 1}), ("ask", {"agent_id": "greeter", "payload": 1}),
                               ("invoke", {"capability": "shutdown", "input": 1})):
            answer = self.wish("secret", method, timeout_ms=300, **params)
            self.assertIn(answer["error"]["data"]["code"], ("TIMEOUT", "NO_RUNTIME", "AGENT_NOT_FOUND", "CAPABILITY_NOT_FOUND"), answer)

    def test_a_runtime_hears_neither_triggers_nor_other_runtimes_nor_results(self):
        rogue = self.join("runtime", "r2")
        for subject in (f"{PREFIX}.commands.>", f"{PREFIX}.commands.agent.*.trigger.*", f"{PREFIX}.runtime.r1.>", f"{PREFIX}.runtime.>",
                        f"{PREFIX}.results.>", f"{PREFIX}.events.>", "_INBOX.>", "_INBOX.runtime.r1.>", "_INBOX.caller.>", "action.pay.*", ">"):
            rogue.subscribe(subject)
            self.assert_refused(rogue)
        rogue.subscribe(f"{PREFIX}.commands.agent.*.trigger.*", queue="compozy-dispatchers")
        self.assert_refused(rogue)

    def test_a_caller_reads_nobody_elses_results_and_commands_nothing(self):
        for subject in (f"{PREFIX}.results.>", f"{PREFIX}.results.caller.batch.>", f"{PREFIX}.results.agent.*", f"{INSTANCES}.*.completed",
                        "_INBOX.>", "_INBOX.caller.>", "_INBOX.caller.batch.>", f"{PREFIX}.runtime.r1.trigger", "agent.greeter.replies", ">"):
            self.web.subscribe(subject)
            self.assert_refused(self.web)
        for subject in (f"{PREFIX}.commands.agent.adhoc.trigger.secret", f"{PREFIX}.runtime.r1.trigger", f"{VERBS}.status",
                        f"{PREFIX}.runtime.r1.control.status", f"{DEFINITIONS}.r1.deregistered", "_INBOX.caller.batch.1", "action.pay.invoice",
                        "agent.secret.replies", f"{PREFIX}.results.caller.batch.1", f"{PREFIX}.dispatcher.d1.report.r1"):
            self.web.publish(subject, "{}")
            self.assert_refused(self.web)

    def test_a_caller_who_knows_the_id_of_an_execution_gets_no_share_in_its_answer(self):
        body = {"agent": {"exec_id": "order-1"}, "payload": {"context": {"input": "mine"}}}
        self.assert_success(self.trigger("greeter", body, client=self.web), "mine")
        self.assert_failure(self.trigger("greeter", body, client=self.batch), "INVALID_MESSAGE")
        self.assert_success(self.trigger("greeter", body, client=self.web), "mine")

    def test_a_caller_has_no_runtime_send_its_results_where_it_may_not_publish(self):
        asked = self.bank.subscribe("action.pay.*")
        told = self.web.subscribe("thread.*.told")
        self.bank.flush()
        self.web.flush()
        for subject in ("action.pay.invoice", "agent.helper.replies", "other.topic", "thread.1.told"):
            self.web.publish(f"{PREFIX}.commands.agent.adhoc.trigger.greeter", {"payload": {"reply_to_subject": subject, "context": {"input": 1}}})
            self.web.publish("news", "x", headers={"Compozy-Reply-To": subject, "Compozy-Thread-Id": "t"})
        self.assert_success(told.next_where(lambda message: b"AgentExecutionResult" in message.data, scaled(5)).json(), 1)
        self.bank.flush()
        self.assertEqual(asked.taken(), [])
        self.assertIn('compozy_runtime_triggers_refused_total{code="TOPIC_FORBIDDEN"}', self.r1.get("/metrics")[1])

    def test_a_service_answers_agents_and_nobody_else(self):
        for subject in (f"{PREFIX}.commands.agent.adhoc.trigger.greeter", "_INBOX.caller.web.1", "_INBOX.runtime.r1.x.register.1", "news"):
            self.bank.publish(subject, "{}")
            self.assert_refused(self.bank)
        for subject in ("action.shutdown", "action.>", "_INBOX.runtime.>", f"{PREFIX}.>"):
            self.bank.subscribe(subject)
            self.assert_refused(self.bank)

    def test_an_operator_is_no_runtime_and_no_dispatcher_and_reads_no_results(self):
        for subject in (f"{DEFINITIONS}.r1.deregistered", f"{PREFIX}.runtime.r1.trigger", f"{PREFIX}.dispatcher.d1.report.r1",
                        "$JS.API.STREAM.DELETE.COMPOZY_EVENTS", "$KV.compozy_runtimes.r1", "_INBOX.caller.web.1"):
            self.alice.publish(subject, "{}")
            self.assert_refused(self.alice)
        for subject in (f"{PREFIX}.results.>", "_INBOX.caller.>", f"{PREFIX}.commands.>"):
            self.alice.subscribe(subject)
            self.assert_refused(self.alice)
        self.olga.publish(f"{VERBS}.status", "{}")
        self.assert_refused(self.olga)

    def test_compozyctl_says_at_once_what_the_key_is_not_for(self):
        def fails(part, *words):
            self.ctl_fails(3, part, "--context", "caller-web", "--server", self.world.nats.url, "--timeout", "60s", *words, timeout=15)

        fails("the key of an operator", "status")
        fails("the key of an operator", "agent", "pause", "greeter")

    def test_whoever_has_no_key_does_not_get_in(self):
        self.ctl_fails(3, "nats.nkey_seed_file", "status")


class Generating(Case):
    def build(self):
        self.world.server()
        self.directory = os.path.join(self.world.directory, "made")

    def make(self, *options):
        return self.ctl("nats-config", "--output", self.directory, "--runtime", "r1", *options)

    def key(self, label):
        with open(os.path.join(self.directory, "keys", label + ".nk"), encoding="ascii") as file:
            return file.read()

    def test_secrets_are_for_the_owner_alone_and_shown_nowhere(self):
        done = self.make("--operator", "alice")
        self.assertEqual(done.returncode, 0, done.stderr)
        seeds = [self.key(label).strip() for label in ("runtime-r1", "operator-alice", "dispatcher-main")]
        shown = done.stdout + done.stderr
        for root, _, files in os.walk(self.directory):
            for name in files:
                path = os.path.join(root, name)
                if name.endswith(".nk"):
                    self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
                else:
                    with open(path, encoding="utf-8") as file:
                        shown += file.read()
        self.assertEqual(os.stat(os.path.join(self.directory, "keys")).st_mode & 0o777, 0o700)
        self.assertEqual([seed for seed in seeds if seed in shown], [])
        self.assertIsNone(re.search(r"\bSU[A-Z2-7]{40}", shown))

    def test_what_is_there_is_replaced_by_force_only_and_keys_by_rotation_only(self):
        self.assertEqual(self.make().returncode, 0)
        first = self.key("runtime-r1"), self.key("dispatcher-main")
        self.ctl_fails(1, "--force", "nats-config", "--output", self.directory, "--runtime", "r1")
        self.assertEqual(self.make("--force", "--runtime", "r2").returncode, 0)
        self.assertEqual((self.key("runtime-r1"), self.key("dispatcher-main")), first)
        self.assertEqual(self.make("--force", "--rotate", "runtime-r1").returncode, 0)
        self.assertNotEqual(self.key("runtime-r1"), first[0])
        self.assertEqual(self.key("dispatcher-main"), first[1])

    def test_the_prefix_is_that_of_the_settings_in_use_unless_given(self):
        for options, prefix in ((["-o", "nats.subject_prefix=acme.prod"], "acme.prod"),
                                (["-o", "nats.subject_prefix=acme", "--prefix", "other"], "other")):
            self.assertEqual(self.make("--force", *options).returncode, 0)
            with open(os.path.join(self.directory, "accounts.conf"), encoding="utf-8") as file:
                text = file.read()
            self.assertIn(f'"{prefix}.runtime.*.trigger"', text)
            self.assertIn(f" --prefix {prefix}", text)

    def test_bad_options_are_named_with_their_value(self):
        for options, part in ((["--runtime", "a b"], "--runtime a b"), (["--topic", "compozy.>"], "--topic compozy.>"), (["--topic", ">"], "--topic >"),
                              (["--caller", "x", "--caller", "x"], "given twice"), (["--rotate", "runtime-r9"], "--rotate runtime-r9"),
                              (["--tls-verify"], "--tls-ca"), (["--listen", "nowhere"], "--listen nowhere"), (["--service", "x"], "which capabilities")):
            done = self.make(*options)
            self.assertEqual(done.returncode, 2, (options, done.stderr))
            self.assertIn(part, done.stderr)
            self.assertFalse(os.path.exists(self.directory))
