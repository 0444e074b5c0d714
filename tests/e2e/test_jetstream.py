# SPDX-License-Identifier: MIT
"""What is kept when the server has JetStream, and that nothing is missing when it has none."""

import json
import os
import shutil

from harness import FAST_HEARTBEAT, INSTANCES, PREFIX, SHORT_WINDOWS, Case, wait_until

BUCKET = "KV_compozy_runtimes"


class WithJetStream(Case):
    def build(self):
        self.world.server(jetstream=True)
        self.d1 = self.world.dispatcher(options=SHORT_WINDOWS)
        self.r1 = self.world.runtime("r1", options=FAST_HEARTBEAT)
        self.client = self.world.client()
        self.wait_runtimes("r1")

    def stream(self, name):
        return wait_until(f"stream {name} is there", lambda: self.client.js_stream(name), 10)

    def record(self, name="r1"):
        if not self.client.js_stream(BUCKET):
            return None
        data = self.client.js_last(BUCKET, f"$KV.compozy_runtimes.{name}")
        return json.loads(data) if data else None

    def test_the_stream_of_events_keeps_what_happened(self):
        config = self.stream("COMPOZY_EVENTS")["config"]
        self.assertEqual(config["max_age"], 7 * 24 * 3600 * 10 ** 9)
        self.assertTrue(all(subject.startswith(f"{PREFIX}.events.") for subject in config["subjects"]), config)
        self.trigger("greeter", {"agent": {"id": "greeter", "exec_id": "kept-1"}})
        for what in ("started", "completed"):
            data = wait_until(f"{what} is kept", lambda what=what: self.client.js_last("COMPOZY_EVENTS", f"{INSTANCES}.kept-1.{what}"), 5)
            self.assertEqual(json.loads(data)["agent"]["exec_id"], "kept-1")
        self.assertTrue(wait_until("changes of the registry are kept", lambda: self.client.js_last(
            "COMPOZY_EVENTS", f"{PREFIX}.events.agent_dispatcher.d1.runtime_update"), 5))

    def test_the_bucket_holds_the_record_of_each_runtime_and_drops_it_when_it_leaves(self):
        record = wait_until("the record is there", self.record, 10)
        text = json.dumps(record)
        self.assertIn('"r1"', text)
        self.assertIn(str(self.runtimes()["r1"]["epoch"]), text)
        self.r1.terminate()
        wait_until("the record says that it left", lambda: (lambda record: record is None or '"gone"' in json.dumps(record))(self.record()), 5)

    def test_the_bucket_follows_a_runtime_that_was_killed_and_started_again(self):
        first = self.runtimes()["r1"]["epoch"]
        wait_until("the record is there", self.record, 10)
        self.r1.kill()
        wait_until("the record says that it is gone", lambda: (lambda record: record is None or '"gone"' in json.dumps(record))(self.record()), 20)
        self.r1.start()
        self.wait_runtimes("r1")
        second = self.runtimes()["r1"]["epoch"]
        self.assertGreater(second, first)
        wait_until("the record has the new epoch", lambda: str(second) in json.dumps(self.record()), 5)

    def test_a_server_that_lost_its_store_gets_stream_and_bucket_again(self):
        self.stream("COMPOZY_EVENTS")
        wait_until("the record is there", self.record, 10)
        self.world.nats.kill()
        shutil.rmtree(os.path.join(self.world.nats.directory, "store"))
        self.world.nats.start()
        self.client = self.world.client()
        self.stream("COMPOZY_EVENTS")
        wait_until("the record is there again", self.record, 10)

    def test_two_dispatchers_share_stream_and_bucket(self):
        self.world.dispatcher("d2", SHORT_WINDOWS)
        wait_until("the record is there", self.record, 10)
        self.trigger("greeter", {"agent": {"id": "greeter", "exec_id": "kept-2"}})
        wait_until("it is kept", lambda: self.client.js_last("COMPOZY_EVENTS", f"{INSTANCES}.kept-2.completed"), 5)


class WithoutJetStream(Case):
    def test_without_jetstream_all_that_needs_no_durability_works(self):
        self.world.server(jetstream=False)
        d1 = self.world.dispatcher()
        self.world.runtime("r1")
        self.client = self.world.client()
        self.wait_runtimes("r1")
        self.assertIsNone(self.client.js_stream("COMPOZY_EVENTS"))
        for i in range(50):
            self.assert_success(self.trigger_input("greeter", i), i)
        self.assertTrue(d1.is_ready())

    def test_jetstream_that_comes_with_a_restart_of_the_server_is_used(self):
        server = self.world.server(jetstream=False)
        self.world.dispatcher()
        self.world.runtime("r1")
        server.kill()
        server.store = ["-js", "-sd", os.path.join(server.directory, "store")]
        server.start()
        self.client = self.world.client()
        wait_until("the stream is there", lambda: self.client.js_stream("COMPOZY_EVENTS"), 10)
        wait_until("the record is there", lambda: self.client.js_stream(BUCKET) and self.client.js_last(BUCKET, "$KV.compozy_runtimes.r1"), 10)
