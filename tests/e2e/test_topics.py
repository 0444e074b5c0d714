# SPDX-License-Identifier: MIT
"""
Topics: who gets what, in which order, and who no longer does. Most agents here are echoes, and most messages carry a Compozy-Reply-To: so what
was handled is seen as an answer.
"""

import collections
import os
import threading
import time

from harness import PREFIX, Case, exec_agent, scaled, wait_until

TRIGGER = f"{PREFIX}.commands.agent.adhoc.trigger"
CONTROL = f"{PREFIX}.runtime.r1.control"


class Topics(Case):
    shared = True
    runtimes_wanted = ("r1",)

    def build(self):
        self.world.server(monitored=True)
        self.dispatcher = self.world.dispatcher()
        for name in self.runtimes_wanted:
            self.world.runtime(name, agents={})
        self.runtime = self.world.processes[-1]
        self.client = self.world.client()
        self.wait_runtimes(*self.runtimes_wanted)

    def subscribe(self, agent, topic, runtime="r1", **more):
        return self.control("subscribe_agent", dict({"agent_id": agent, "topic": topic}, **more), runtime)

    def unsubscribe(self, agent, topic, runtime="r1"):
        return self.control("unsubscribe_agent", {"agent_id": agent, "topic": topic}, runtime)

    def topics_of(self, agent, runtime="r1"):
        """{topic: (queue, qos, managed)}"""
        found = self.control("get_agent_subscriptions", agent, runtime)["subscriptions"]
        return {one["topic"]: (one["queue"], one["qos"], one["managed"]) for one in found}

    def encoded(self, topic, inbox, numbers, **headers):
        """Messages whose payloads are their numbers, and whose answers go to `inbox`."""
        headers = dict({"Compozy-Reply-To": inbox}, **{name.replace("_", "-"): value for name, value in headers.items()})
        return [self.client.encode(topic, str(number), headers=headers) for number in numbers]

    def publish(self, topic, inbox, numbers, **headers):
        self.client.publish_many(self.encoded(topic, inbox, numbers, **headers))

    def answers(self, inbox, n, timeout=10):
        """[(sender, number)] of the next n answers."""
        found = []
        for _ in range(n):
            message = inbox.next(scaled(timeout))
            self.assertNotIn("Nats-Service-Error", message.headers, message)
            found.append((message.headers["Compozy-Sender"].removeprefix("agent."), int(message.data)))
        return found

    def settle(self, *agents, runtime="r1"):
        """Whatever was published so far is with the runtime, and handled."""
        self.client.flush(scaled(5))
        for agent in agents:
            wait_until(f"{agent} has nothing left", lambda agent=agent: self.control("get_agent", agent, runtime)["mailbox"]["queued"] == 0 and
                       self.control("get_agent", agent, runtime)["with_worker"] == 0, 10)


class Promises(Topics):
    """Subscriptions mean what their replies say."""

    def test_what_is_published_after_the_answer_to_subscribe_is_delivered(self):
        self.create("punctual")
        inbox = self.client.subscribe("punctual.inbox")
        for number in range(100):
            self.subscribe("punctual", f"punctual.{number}")
            self.publish(f"punctual.{number}", "punctual.inbox", [number])
            self.assertEqual(self.answers(inbox, 1), [("punctual", number)])

    def test_of_messages_around_an_unsubscription_exactly_those_before_it_are_handled(self):
        self.create("leaver")
        for attempt in range(10):
            topic = f"leaver.topic.{attempt}"
            self.subscribe("leaver", topic)
            inbox = self.client.subscribe(f"leaver.inbox.{attempt}")
            done = self.client.subscribe(f"leaver.done.{attempt}")
            request = self.client.encode(f"{CONTROL}.unsubscribe_agent", {"agent_id": "leaver", "topic": topic}, f"leaver.done.{attempt}")
            self.client.publish_many(self.encoded(topic, inbox.subject, range(500)) + [request] +
                                     self.encoded(topic, inbox.subject, range(500, 1000)))
            self.assertTrue(done.next(scaled(5)).json()["ok"])
            self.assertEqual(self.answers(inbox, 500), [("leaver", number) for number in range(500)])
            self.settle("leaver")
            self.assertEqual(inbox.taken(), [])

    def test_of_messages_around_a_subscription_to_a_topic_that_others_have_exactly_those_behind_it_are_handled(self):
        self.create("regular", topics=["joined.*"], mailbox_capacity=10000)
        self.create("present", topics=["joined.topic"], mailbox_capacity=10000)
        self.create("joiner")
        inbox = self.client.subscribe("joined-inbox")
        request = self.client.encode(f"{CONTROL}.subscribe_agent", {"agent_id": "joiner", "topic": "joined.topic"}, "joined-done")
        self.client.publish_many(self.encoded("joined.topic", inbox.subject, range(500)) + [request] +
                                 self.encoded("joined.topic", inbox.subject, range(500, 1000)))
        got = collections.defaultdict(list)
        for agent, number in self.answers(inbox, 2500):
            got[agent].append(number)
        self.assertEqual(got["joiner"], list(range(500, 1000)))
        self.assertEqual(got["present"], list(range(1000)))
        self.assertEqual(got["regular"], list(range(1000)))

    def test_a_pause_keeps_and_a_stop_ends_what_an_agent_gets(self):
        self.create("moody", topics=["moody.topic"])
        inbox = self.client.subscribe("moody.inbox")
        self.control("pause_agent", "moody")
        self.publish("moody.topic", "moody.inbox", range(10))
        wait_until("they are in its mailbox", lambda: self.control("get_agent", "moody")["mailbox"]["queued"] == 10, 5)
        self.control("resume_agent", "moody")
        self.assertEqual(self.answers(inbox, 10), [("moody", number) for number in range(10)])
        self.control("stop_agent", "moody")
        self.publish("moody.topic", "moody.inbox", range(10, 20))
        self.client.flush()
        self.control("start_agent", "moody")
        self.publish("moody.topic", "moody.inbox", range(20, 30))
        self.assertEqual(self.answers(inbox, 10), [("moody", number) for number in range(20, 30)])
        self.assertEqual(inbox.taken(), [])

    def test_messages_of_one_publisher_are_handled_in_their_order_by_every_subscriber(self):
        for number in range(5):
            self.create(f"orderly-{number}", topics=["orderly.topic"], mailbox_capacity=10000)
        inbox = self.client.subscribe("orderly.inbox")
        for start in range(0, 5000, 100):
            self.publish("orderly.topic", "orderly.inbox", range(start, start + 100))
        got = collections.defaultdict(list)
        for agent, number in self.answers(inbox, 25000):
            got[agent].append(number)
        for number in range(5):
            self.assertEqual(got[f"orderly-{number}"], list(range(5000)))

    def test_order_holds_between_two_topics_of_one_agent(self):
        self.create("both", topics=["both.a", "both.b"], mailbox_capacity=10000)
        inbox = self.client.subscribe("both.inbox")
        self.client.publish_many([self.client.encode(f"both.{'ab'[number % 2]}", str(number), headers={"Compozy-Reply-To": "both.inbox"})
                                  for number in range(2000)])
        self.assertEqual(self.answers(inbox, 2000), [("both", number) for number in range(2000)])


class Errors(Topics):
    def test_two_subscriptions_to_one_topic_at_once_make_one_and_one_error(self):
        self.create("eager")
        inbox = self.client.subscribe("eager.answers.*")
        for number in range(50):
            request = {"agent_id": "eager", "topic": f"eager.{number}"}
            self.client.publish_many([self.client.encode(f"{CONTROL}.subscribe_agent", request, f"eager.answers.{place}")
                                      for place in "01"])
            answers = dict((message.subject[-1], message.json()) for message in (inbox.next(scaled(5)), inbox.next(scaled(5))))
            self.assertTrue(answers["0"]["ok"])
            self.assertEqual(answers["1"]["error"]["code"], "ALREADY_SUBSCRIBED")
        self.assertEqual(len(self.topics_of("eager")), 51)
        self.assertEqual(len(self.world.nats.subscriptions("eager.")), 50 + 2)  # the reply topic, our inbox

    def test_each_mistake_has_its_own_error(self):
        self.create("clumsy", topics=["clumsy.has"])
        for verb, topic, code in (("subscribe_agent", "clumsy.has", "ALREADY_SUBSCRIBED"), ("unsubscribe_agent", "clumsy.not", "NOT_SUBSCRIBED"),
                                  ("unsubscribe_agent", "agent.clumsy.replies", "REPLY_TOPIC_MANAGED"),
                                  ("subscribe_agent", "agent.clumsy.replies", None), ("subscribe_agent", "a..b", "INVALID_MESSAGE"),
                                  ("subscribe_agent", "a b", "INVALID_MESSAGE"), ("subscribe_agent", "", "INVALID_MESSAGE"),
                                  ("subscribe_agent", "a." + "x" * 300, "INVALID_MESSAGE")):
            error = self.control_error(verb, {"agent_id": "clumsy", "topic": topic}, code)
            self.assertIn(error["code"], (code, "ALREADY_SUBSCRIBED", "REPLY_TOPIC_MANAGED"))
        self.control_error("subscribe_agent", {"agent_id": "clumsy"}, "INVALID_MESSAGE")
        self.control_error("subscribe_agent", {"agent_id": "clumsy", "topic": "t", "qos": "soon"}, "INVALID_MESSAGE")
        self.control_error("subscribe_agent", {"agent_id": "clumsy", "topic": "t", "queue": "a b"}, "INVALID_MESSAGE")
        self.assertEqual(set(self.topics_of("clumsy")), {"agent.clumsy.replies", "clumsy.has"})

    def test_reserved_subjects_are_refused_whatever_they_look_like(self):
        self.create("nosy")
        for topic in ("compozy.commands.>", "compozy.runtime.r1.trigger", "compozy.>", "compozy.*", "compozy.*.agent.definition.*.registered",
                      "$SYS.>", "$JS.API.>", "_INBOX.>", "_INBOX.x.y", ">", "*", "*.commands.>", "*.>"):
            error = self.control_error("subscribe_agent", {"agent_id": "nosy", "topic": topic}, "TOPIC_FORBIDDEN")
            self.assertIn(topic, error["message"])
        for topic in ("compozy", "compozyx.a", "INBOX.x", "a.$SYS", "a.*", "a.>"):
            self.subscribe("nosy", topic)
        self.assertEqual(len(self.topics_of("nosy")), 7)

    def test_the_number_of_subscriptions_of_one_agent_is_bounded(self):
        self.create("greedy")
        inbox = self.client.subscribe("greedy.answers")
        self.client.publish_many([self.client.encode(f"{CONTROL}.subscribe_agent", {"agent_id": "greedy", "topic": f"greedy.t.{number}"},
                                                     inbox.subject) for number in range(1030)])
        codes = collections.Counter((message.json().get("error") or {}).get("code") for message in (inbox.next(scaled(5)) for _ in range(1030)))
        self.assertEqual(codes, {None: 1024, "LIMIT_EXCEEDED": 6})
        self.control("delete_agent", "greedy")
        wait_until("the server has none left", lambda: self.world.nats.subscriptions("greedy.t") == [], 5)


class Sharing(Topics):
    def test_agents_that_share_a_topic_share_one_subscription_until_the_last_has_left(self):
        for number in range(20):
            self.create(f"sharer-{number}", topics=["shared.topic"])
        self.assertEqual(self.world.nats.subscriptions("shared.topic"), [("shared.topic", "")])
        inbox = self.client.subscribe("shared-inbox")
        self.publish("shared.topic", "shared-inbox", [7])
        self.assertEqual(sorted(self.answers(inbox, 20)), sorted((f"sharer-{number}", 7) for number in range(20)))
        for number in range(19):
            if number % 2:
                self.unsubscribe(f"sharer-{number}", "shared.topic")
            else:
                self.control("delete_agent", f"sharer-{number}")
        self.assertEqual(self.world.nats.subscriptions("shared.topic"), [("shared.topic", "")])
        self.publish("shared.topic", "shared-inbox", [8])
        self.assertEqual(self.answers(inbox, 1), [("sharer-19", 8)])
        self.unsubscribe("sharer-19", "shared.topic")
        wait_until("the last has left", lambda: self.world.nats.subscriptions("shared.topic") == [], 5)
        self.assertEqual(inbox.taken(), [])

    def test_wildcards_match_as_they_do_on_the_server(self):
        self.create("star", topics=["wild.*.end"])
        self.create("rest", topics=["wild.>"])
        self.create("deep", topics=["wild.a.>"])
        inbox = self.client.subscribe("wild-inbox")
        for number, (topic, wanted) in enumerate((("wild.a.end", {"star", "rest", "deep"}), ("wild.b.end", {"star", "rest"}), ("wild.a", {"rest"}),
                                                  ("wild.a.b.end", {"rest", "deep"}), ("wilder.a.end", set()), ("wild", set()))):
            self.publish(topic, "wild-inbox", [number])
            self.assertEqual({agent for agent, _ in self.answers(inbox, len(wanted))}, wanted, topic)
        self.settle("star", "rest", "deep")
        self.assertEqual(inbox.taken(), [])

    def test_an_agent_with_overlapping_topics_gets_a_copy_for_each(self):
        self.create("twice", topics=["overlap.*", "overlap.topic"])
        inbox = self.client.subscribe("overlap-inbox")
        self.publish("overlap.topic", "overlap-inbox", [1])
        self.assertEqual(self.answers(inbox, 2), [("twice", 1)] * 2)

    def test_within_a_queue_group_each_message_is_handled_once_and_the_work_is_shared_out(self):
        for number in range(4):
            self.create(f"clerk-{number}", topics=[{"topic": "desk.topic", "queue": "clerks"}])
        self.create("onlooker", topics=["desk.topic"])
        self.assertEqual(self.world.nats.subscriptions("desk.topic"), [("desk.topic", ""), ("desk.topic", "clerks")])
        inbox = self.client.subscribe("desk-inbox")
        self.publish("desk.topic", "desk-inbox", range(400))
        got = collections.defaultdict(list)
        for agent, number in self.answers(inbox, 800):
            got[agent].append(number)
        self.assertEqual(got.pop("onlooker"), list(range(400)))
        self.assertEqual(sorted(sum(got.values(), [])), list(range(400)))
        self.assertEqual({len(numbers) for numbers in got.values()}, {100})
        for agent in ("clerk-1", "clerk-2"):
            self.control("stop_agent", agent)
        self.publish("desk.topic", "desk-inbox", range(400, 500))
        got = collections.Counter(agent for agent, _ in self.answers(inbox, 200))
        self.assertEqual(got, {"onlooker": 100, "clerk-0": 50, "clerk-3": 50})

    def test_subscriptions_are_listed_as_they_were_made(self):
        self.create("listed", topics=["listed.plain", {"topic": "listed.queued", "queue": "q", "qos": "background"}])
        self.subscribe("listed", "listed.late", qos="realtime")
        self.assertEqual(self.topics_of("listed"), {"agent.listed.replies": (None, "batched", True), "listed.plain": (None, "batched", False),
                                                    "listed.queued": ("q", "background", False), "listed.late": (None, "realtime", False)})
        self.control("stop_agent", "listed")
        self.assertEqual(len(self.topics_of("listed")), 4)

    def test_realtime_topics_overtake_and_what_is_late_on_them_is_dropped_and_counted(self):
        self.create("sensor", topics=["sensor.batch", {"topic": "sensor.now", "qos": "realtime"}, {"topic": "sensor.log", "qos": "background"}])
        inbox = self.client.subscribe("sensor-inbox")
        for _ in range(5):
            if self.what_was_in_time_took(inbox) < 1:
                return
        self.fail("this machine stood still each time")

    def what_was_in_time_took(self, inbox):
        """Seconds that the one which was in time was under way; when it is late as well, for a machine that stood still, that shows nothing."""
        self.control("pause_agent", "sensor")
        self.publish("sensor.now", "sensor-inbox", [1])
        self.publish("sensor.log", "sensor-inbox", [2])
        self.publish("sensor.batch", "sensor-inbox", [3])
        wait_until("they are in its mailbox", lambda: self.control("get_agent", "sensor")["mailbox"]["queued"] == 3, 5)
        wait_until("the first is late", lambda began=time.monotonic(): time.monotonic() - began > 1.05, 5)
        began = time.monotonic()
        self.publish("sensor.now", "sensor-inbox", [4])
        wait_until("it is in its mailbox, too", lambda: self.control("get_agent", "sensor")["mailbox"]["queued"] == 4, 5)
        self.control("resume_agent", "sensor")
        numbers, errors = [], []
        for _ in range(4):
            message = inbox.next(scaled(5))
            (errors if "Nats-Service-Error" in message.headers else numbers).append(message)
        took = time.monotonic() - began
        if took < 1:
            self.assertEqual([int(message.data) for message in numbers], [4, 3, 2])
            self.assertEqual([message.json()["error"]["code"] for message in errors], ["DEADLINE_EXCEEDED"])
        return took


class TwoRuntimes(Topics):
    runtimes_wanted = ("r1", "r2")

    def test_across_runtimes_a_queue_group_handles_each_message_once_and_a_plain_topic_reaches_each(self):
        for runtime in self.runtimes_wanted:
            for number in range(2):
                self.create(f"mate-{runtime}-{number}", topics=[{"topic": "crew.topic", "queue": "crew"}], runtime=runtime)
            self.create(f"ear-{runtime}", topics=["crew.topic"], mailbox_capacity=10000, runtime=runtime)
        inbox = self.client.subscribe("crew-inbox")
        self.publish("crew.topic", "crew-inbox", range(1000))
        got = collections.defaultdict(list)
        for agent, number in self.answers(inbox, 3000):
            got[agent].append(number)
        for runtime in self.runtimes_wanted:
            self.assertEqual(got.pop(f"ear-{runtime}"), list(range(1000)))
        self.assertEqual(sorted(sum(got.values(), [])), list(range(1000)))
        self.assertEqual(len(got), 4)
        for agent, numbers in got.items():
            self.assertEqual(numbers, sorted(numbers))
            self.assertGreater(len(numbers), 100, agent)

    def test_the_reply_topic_of_an_agent_in_two_places_reaches_one_of_them(self):
        for runtime in self.runtimes_wanted:
            self.create("double", runtime=runtime)
        inbox = self.client.subscribe("double-inbox")
        self.publish("agent.double.replies", "double-inbox", range(200))
        self.assertEqual(sorted(number for _, number in self.answers(inbox, 200)), list(range(200)))
        for runtime in self.runtimes_wanted:
            self.settle("double", runtime=runtime)
            self.assertGreater(self.control("get_agent", "double", runtime)["handled"], 20)
        self.assertEqual(inbox.taken(), [])


class Envelopes(Topics):
    def test_an_answer_carries_the_envelope_of_its_question(self):
        self.create("polite", topics=["polite.topic"])
        trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        question = self.client.request("polite.topic", b"hello \xff", scaled(5),
                                       {"Compozy-Thread-Id": "t-1", "Compozy-Correlation-Id": "c-1", "Compozy-Sender": "somebody",
                                        "Compozy-Ttl": "9", "Compozy-Hop": "3", "traceparent": trace, "tracestate": "a=1"})
        self.assertEqual(question.data, b"hello \xff")
        wanted = {"Compozy-Thread-Id": "t-1", "Compozy-Correlation-Id": "c-1", "Compozy-Sender": "agent.polite", "Compozy-Ttl": "8",
                  "Compozy-Hop": "4", "traceparent": trace, "tracestate": "a=1"}
        self.assertEqual({name: question.headers.get(name) for name in wanted}, wanted)
        self.assertRegex(question.headers["Compozy-Timestamp"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")

    def test_without_headers_the_defaults_hold(self):
        self.create("plain", topics=["plain.topic"])
        headers = self.client.request("plain.topic", "x", scaled(5)).headers
        self.assertEqual((headers["Compozy-Ttl"], headers["Compozy-Hop"], headers["Compozy-Sender"]), ("15", "1", "agent.plain"))
        self.assertNotIn("traceparent", headers)

    def test_the_thread_is_the_default_of_correlation_and_reply_subject(self):
        self.create("threaded", topics=["thread.t-9.broadcast"])
        inbox = self.client.subscribe("thread.t-9.reply")
        self.client.publish("thread.t-9.broadcast", "hi", headers={"Compozy-Thread-Id": "t-9"})
        message = inbox.next(scaled(5))
        self.assertEqual(message.data, b"hi")
        self.assertEqual((message.headers["Compozy-Thread-Id"], message.headers["Compozy-Correlation-Id"]), ("t-9", "t-9"))

    def test_an_exec_agent_sees_the_envelope(self):
        self.create("reader", exec_agent(), topics=["reader.topic"])
        self.client.publish("reader.topic", {"a": 1}, "reader.inbox",
                            headers={"Compozy-Thread-Id": "t-2", "Compozy-Sender": "agent.x", "Compozy-Ttl": "2"})
        wait_until("it has seen it", lambda: self.trigger_input("reader", {"do": "seen"})["payload"]["result"]["output"], 5)
        [seen] = self.trigger_input("reader", {"do": "seen"})["payload"]["result"]["output"]
        self.assertEqual((seen["topic"], seen["input"], seen["encoding"]), ("reader.topic", {"a": 1}, "json"))
        envelope = seen["envelope"]
        names = ("thread_id", "correlation_id", "sender", "reply_to", "ttl", "hop")
        self.assertEqual([envelope[name] for name in names], ["t-2", "t-2", "agent.x", "reader.inbox", 1, 1])

    def test_headers_out_of_grammar_cost_the_message_and_nothing_else(self):
        self.create("strict", topics=["strict.topic"])
        inbox = self.client.subscribe("strict.inbox")
        for headers in ({"Compozy-Ttl": "many"}, {"Compozy-Ttl": "-1"}, {"Compozy-Ttl": "99999999999999999999"}, {"Compozy-Hop": "x"},
                        {"Compozy-Reply-To": "a b.>"}, {"Compozy-Thread-Id": "x" * 1000}):
            self.client.publish("strict.topic", "1", headers=dict({"Compozy-Reply-To": "strict.inbox"}, **headers))
        self.publish("strict.topic", "strict.inbox", [5])
        self.assertEqual(self.answers(inbox, 1), [("strict", 5)])
        self.assertEqual(self.control("get_agent", "strict")["handled"], 1)

    def test_answers_may_not_be_directed_to_reserved_subjects(self):
        self.create("naive", topics=["naive.topic"])
        spy = self.client.subscribe("compozy.runtime.nobody.>")
        self.publish("naive.topic", "compozy.runtime.nobody.control.drain", range(5))
        self.settle("naive")
        self.assertEqual(self.control("get_agent", "naive")["handled"], 5)
        self.client.flush()
        self.assertEqual(spy.taken(), [])


class TimesToLive(Topics):
    bound = 60.0

    def test_a_ttl_of_1_is_never_handled_even_by_thousands_at_once_and_each_is_counted(self):
        for number in range(3):
            self.create(f"mortal-{number}", topics=["mortal.topic"])
        inbox = self.client.subscribe("mortal-inbox")
        before = self.runtime.metrics()

        def publish(number):
            with self.world.client(f"publisher-{number}") as client:
                message = [client.encode("mortal.topic", "1", headers={"Compozy-Reply-To": "mortal-inbox", "Compozy-Ttl": ttl}) for ttl in ("1", "0")]
                for _ in range(10):
                    client.publish_many(message * 25)
                client.flush(scaled(20))

        threads = [threading.Thread(target=publish, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.publish("mortal.topic", "mortal-inbox", [2], **{"Compozy-Ttl": "2"})
        found = []
        for _ in range(3):
            message = inbox.next(scaled(10))
            found.append((message.data, message.headers["Compozy-Ttl"], message.headers["Compozy-Hop"]))
        self.assertEqual(found, [(b"2", "1", "1")] * 3)
        for number in range(3):
            self.assertEqual(self.control("get_agent", f"mortal-{number}")["handled"], 1)
        expired = [name for name in before if "expired" in name]
        self.assertTrue(expired, "no metric counts what has expired")
        self.assertEqual(self.runtime.metrics()[expired[0]] - before[expired[0]], 10000)


class Fates(Case):
    """What restarts and stops do to subscriptions; each with a world of its own."""

    encoded, publish, answers = Topics.encoded, Topics.publish, Topics.answers

    def build(self):
        self.world.server(monitored=True)
        self.dispatcher = self.world.dispatcher()
        self.runtime = self.world.runtime("r1", agents={})
        self.client = self.world.client()
        self.wait_runtimes("r1")

    def test_all_subscriptions_are_back_when_the_server_was_restarted(self):
        for number in range(300):
            self.create(f"loyal-{number}", topics=["loyal.all", {"topic": "loyal.one", "queue": "q"}, f"loyal.own.{number}"])
        self.create("stopped", topics=["loyal.stopped"])
        self.control("stop_agent", "stopped")
        before = self.world.nats.subscriptions("loyal")
        self.assertEqual(len(before), 302 + 300)
        self.world.nats.kill()
        self.world.nats.start()
        self.client = self.world.client()
        self.wait_runtimes("r1", timeout=15)
        wait_until("all are back", lambda: self.world.nats.subscriptions("loyal") == before, 10)
        inbox = self.client.subscribe("fates.inbox")
        self.publish("loyal.all", "fates.inbox", [1])
        self.assertEqual(len(set(self.answers(inbox, 300))), 300)
        self.publish("loyal.one", "fates.inbox", range(300))
        self.assertEqual(len(set(self.answers(inbox, 300))), 300)
        self.publish("loyal.own.7", "fates.inbox", [2])
        self.assertEqual(self.answers(inbox, 1), [("loyal-7", 2)])

    def test_subscriptions_made_and_ended_while_the_server_is_away_hold_when_it_is_back(self):
        """There is no control API without a server: a reload changes definitions meanwhile."""
        self.runtime.terminate()
        directory = self.world.agents_dir("r1", {"mover": {"agent_type": "echo", "subscribed_topics": ["mover.old", "mover.kept"]}})
        self.runtime.start()
        self.wait_runtimes("r1")

        def topics():
            return [topic for topic, _ in self.world.nats.subscriptions("mover.") if topic.startswith("mover")]

        self.assertEqual(topics(), ["mover.kept", "mover.old"])
        self.world.nats.kill()
        self.world.agents_dir("r1", {"mover": {"agent_type": "echo", "subscribed_topics": ["mover.kept", "mover.new"]}})
        self.assertTrue(os.path.isdir(directory))
        self.runtime.signal(1)
        self.runtime.wait_log("Configuration was read again")
        self.world.nats.start()
        self.client = self.world.client()
        wait_until("the new topics are there", lambda: topics() == ["mover.kept", "mover.new"], 10)

    def test_a_slow_agent_delays_neither_its_neighbours_on_the_topic_nor_the_publisher(self):
        self.create("sloth", exec_agent({"at_topic": {"do": "sleep", "ms": 100}}), topics=["busy.topic"], mailbox_capacity=200)
        self.create("hare", topics=["busy.topic"])
        inbox = self.client.subscribe("busy.inbox")
        latencies = []
        for number in range(500):
            sent = time.monotonic()
            self.client.publish("busy.topic", str(number), headers={"Compozy-Thread-Id": "busy", "Compozy-Reply-To": "busy.inbox"})
            while True:
                message = inbox.next(scaled(5))
                if message.headers["Compozy-Sender"] == "agent.hare":
                    break
            self.assertEqual(int(message.data), number)
            latencies.append(message.at - sent)
        latencies.sort()
        self.assertLess(latencies[250], scaled(0.01), latencies[250])
        self.assertLess(latencies[490], scaled(0.05), latencies[490])
        self.assertLess(self.control("get_agent", "sloth")["handled"], 400)
        self.assertGreater(self.control("get_agent", "sloth")["mailbox"]["shed"], 0)

    def test_a_stop_of_the_runtime_handles_what_has_arrived_and_runs_every_stop_hook(self):
        path = os.path.join(self.world.directory, "goodbyes")
        for number in range(8):
            self.create(f"guest-{number}", exec_agent({"say_goodbye": path, "answers": True}), topics=["house.topic"])
        inbox = self.client.subscribe("house.inbox")
        self.publish("house.topic", "house.inbox", range(200))
        self.client.flush()
        self.control("status")
        self.assertEqual(self.runtime.terminate(), 0)
        with open(path, encoding="utf-8") as file:
            self.assertEqual(sorted(file.read().split()), sorted(f"guest-{number}" for number in range(8)))
        got = collections.Counter(agent for agent, _ in self.answers(inbox, 1600))
        self.assertEqual(set(got.values()), {200})
        wait_until("its subscriptions are gone", lambda: self.world.nats.subscriptions("house.topic") == [], 5)

    def test_what_mailboxes_hold_together_is_bounded_and_each_message_over_it_is_answered_and_counted(self):
        self.runtime.terminate()
        self.runtime.arguments += ["-o", "limits.max_mail_bytes=1048576"]
        self.runtime.start()
        self.wait_runtimes("r1")
        for number in range(4):
            self.create(f"hoarder-{number}", topics=[f"hoard.{number}"])
            self.control("pause_agent", f"hoarder-{number}")
        inbox = self.client.subscribe("hoard-inbox")
        for number in range(200):
            self.client.publish(f"hoard.{number % 4}", bytes(10000), headers={"Compozy-Reply-To": "hoard-inbox"})
        wait_until("all have come to something", lambda: len(inbox) + self.runtime.metrics()["compozy_runtime_mailbox_depth"] == 200, 5)
        metrics = self.runtime.metrics()
        self.assertLessEqual(metrics["compozy_runtime_held_message_bytes"], 1048576 + 20000)
        refused = inbox.taken()
        self.assertGreater(len(refused), 90)
        self.assertEqual({message.json()["error"]["code"] for message in refused}, {"OVERLOADED"})
        self.assertEqual(metrics["compozy_runtime_messages_undelivered_total{code=\"OVERLOADED\"}"], len(refused))
        for number in range(4):
            self.control("resume_agent", f"hoarder-{number}")
        for _ in range(200 - len(refused)):
            self.assertEqual(inbox.next(scaled(5)).data, bytes(10000))

    def test_nothing_is_left_of_agents_that_had_mail_of_all_kinds_when_they_are_gone(self):
        directory = [("echo", {}), ("counter", {}), ("delay", {"parameters": {"ms": 30000}}), ("exec", exec_agent({"at_topic": {"do": "hang"}}))]
        for kind, more in directory:
            self.create(f"gone-{kind}", dict({"agent_type": kind}, **more), topics=["gone.topic", {"topic": "gone.queued", "queue": "q"}])
        self.control("pause_agent", "gone-echo")
        for number in range(200):
            self.client.publish(("gone.topic", "gone.queued")[number % 2], "{}", headers={"Compozy-Thread-Id": "gone"})
        self.client.flush()
        wait_until("it has arrived", lambda: self.control("get_agent", "gone-echo")["mailbox"]["queued"] >= 100, 5)
        os.kill(self.child_of("gone-exec"), 9)
        for kind, _ in directory:
            self.control("delete_agent", {"agent_id": f"gone-{kind}", "mode": "discard"})
        metrics = self.runtime.metrics()
        for name in ("mailbox_depth", "held_messages", "held_message_bytes", "open_messages", "subscriptions", "nats_subscriptions", "pending_asks",
                     "in_flight", "in_flight_bytes", "queue_depth", "agents{state=\"running\"}", "held_answers"):
            self.assertEqual(metrics[f"compozy_runtime_{name}"], 0.0, name)

    def child_of(self, agent):
        """The process of that agent, as its environment says."""
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/environ", "rb") as file:
                    words = file.read().split(b"\0")
                with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
                    parent = int(file.read().rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue
            if parent == self.runtime.pid and f"COMPOZY_AGENT_ID={agent}".encode() in words:
                return int(pid)
        raise AssertionError(f"there is no process of {agent}")
