# SPDX-License-Identifier: MIT
"""/metrics, /healthz, /readyz."""

import re
import time
import urllib.error
import urllib.request

from harness import Case, scaled, wait_until


class Http(Case):
    waits = True

    def build(self):
        self.world.server()
        self.dispatcher = self.world.dispatcher()
        self.runtime = self.world.runtime("r1")
        self.client = self.world.client()
        self.wait_runtimes("r1")

    def test_metrics_are_well_formed_and_count_what_happened(self):
        before = [daemon.metrics() for daemon in (self.dispatcher, self.runtime)]
        for i in range(20):
            self.assert_success(self.trigger_input("greeter", i))
        for daemon, earlier in zip((self.dispatcher, self.runtime), before):
            status, text = daemon.get("/metrics")
            self.assertEqual(status, 200)
            families = {}
            for line in text.splitlines():
                if line.startswith("# TYPE "):
                    name, kind = line.split()[2:4]
                    self.assertNotIn(name, families, "a family is told twice")
                    families[name] = kind
                elif line and not line.startswith("#"):
                    match = re.fullmatch(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[^{}]*\})? (-?[0-9.eE+]+|NaN|[+-]Inf)', line)
                    self.assertTrue(match, line)
                    base = re.sub(r"_(bucket|sum|count)$", "", match.group(1))
                    self.assertTrue(match.group(1) in families or base in families, f"no # TYPE before {line}")
            self.assertTrue(any(name.startswith("compozy_") for name in families))
            grown = [name for name, value in daemon.metrics().items() if value - earlier.get(name, 0) >= 20]
            self.assertTrue([name for name in grown if name.startswith("compozy_")], f"{daemon.name}: no counter grew by the 20 triggers")

    def test_healthz_and_readyz_say_so_and_other_paths_are_not_found(self):
        for daemon in (self.dispatcher, self.runtime):
            self.assertEqual(daemon.get("/healthz")[0], 200)
            self.assertEqual(daemon.get("/readyz")[0], 200)
            self.assertEqual(daemon.get("/index.html")[0], 404)
            self.assertEqual(daemon.get("/metrics/../../etc/passwd")[0], 404)
            with self.assertRaises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(urllib.request.Request(f"http://{daemon.http()}/metrics", data=b"x", method="POST"), timeout=scaled(5))
            self.assertIn(caught.exception.code, (404, 405, 501))

    def assert_not_ready_within_two_seconds(self, lose, regain):
        """Tried again when it took longer: this machine may have been busy with something else just then."""
        took = []
        while not took or (took[-1] >= scaled(2) and len(took) < 3):
            lose()
            began = time.monotonic()
            for daemon in (self.dispatcher, self.runtime):
                wait_until(f"{daemon.name} says it is not ready", lambda daemon=daemon: daemon.get("/readyz")[0] == 503)
                self.assertEqual(daemon.get("/healthz")[0], 200)
            took.append(time.monotonic() - began)
            regain()
            for daemon in (self.dispatcher, self.runtime):
                daemon.wait_ready(10)
        self.assertLess(took[-1], scaled(2), took)

    def test_readyz_is_false_within_two_seconds_of_losing_the_server_and_true_again_when_it_is_back(self):
        self.assert_not_ready_within_two_seconds(self.world.nats.kill, self.world.nats.start)

    def test_readyz_is_false_within_two_seconds_of_the_server_hanging_and_true_again_when_it_goes_on(self):
        # its connections stay open: only pings that are not answered tell
        self.assert_not_ready_within_two_seconds(self.world.nats.pause, self.world.nats.resume)
        self.client = self.world.client()
        wait_until("triggers work", lambda: self.trigger_input("greeter", 1)["payload"]["status"] == "SUCCESS", 8)

    def test_a_daemon_that_hangs_answers_neither_and_both_again_when_it_goes_on(self):
        for daemon in (self.dispatcher, self.runtime):
            daemon.pause()
            try:
                for path in ("/healthz", "/readyz"):
                    self.assertEqual(daemon.get(path, timeout=0.2)[0], 0)
            finally:
                daemon.resume()
            for path in ("/healthz", "/readyz"):
                wait_until(f"{daemon.name} answers {path}", lambda daemon=daemon, path=path: daemon.get(path)[0] == 200, 5)

    def test_http_listen_none_serves_nothing(self):
        quiet = self.world.dispatcher("d2", options={"http.listen": "none"}, wait=False)
        wait_until("it is known by both", lambda: any("'d2'" in str(self.verb_ok("status")) for _ in range(10)), 10)
        self.assertIsNone(quiet.http())
