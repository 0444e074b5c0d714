# SPDX-License-Identifier: MIT
"""The status page at "/": as a browser sees it, with many runtimes and agents, and with names that would like to be more than names."""

import html.parser
import os
import re
import shutil
import signal
import struct
import subprocess
import unittest
import urllib.request

from fakeruntime import FakeRuntime
from harness import Case, exec_agent, scaled, wait_until

BROWSERS = ("chromium", "chromium-headless-shell", "chrome-headless-shell", "google-chrome")
HOSTILE = '<script>document.title="taken"</script><img src=x onerror="document.title=1">'


class Reader(html.parser.HTMLParser):
    """Tags that occur, the cells of each table by its heading, and the values of the tiles by their labels."""

    VOID = {"meta", "meter", "polygon", "polyline"}

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.tables, self.tiles = set(), set(), {}, {}
        self.path, self.title, self.heading, self.label, self.text = [], "", "", "", ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)
        if tag == "tr":
            self.tables.setdefault(self.heading, []).append([])
        if tag in ("td", "th", "dt", "dd", "h2", "title"):
            self.text = ""

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.tables[self.heading][-1].append(self.text)
        elif tag == "h2":
            self.heading = self.text
        elif tag == "title":
            self.title = self.text
        elif tag == "dt":
            self.label = self.text
        elif tag == "dd":
            self.tiles.setdefault(self.label, self.text)

    def handle_data(self, data):
        self.text += data


class Page(Case):
    bound = 60.0

    def build(self):
        self.world.server()
        self.dispatcher = self.world.dispatcher()
        self.runtime = self.world.runtime("r1", options={"runtime.labels": "zone=a"})
        self.client = self.world.client()
        self.wait_runtimes("r1")

    def read(self, daemon, path="/"):
        status, text = daemon.get(path)
        self.assertEqual(status, 200, text)
        return Reader(text)

    def browse(self, daemon, *arguments):
        browser = next(filter(None, map(shutil.which, BROWSERS)), None)
        if not browser:
            raise unittest.SkipTest(f"no browser is installed ({', '.join(BROWSERS)}): `make tools` installs one")
        profile = os.path.join(self.world.directory, "browser")
        process = subprocess.Popen(
            [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-extensions", "--no-first-run", "--disable-background-networking",
             "--enable-logging=stderr", f"--user-data-dir={profile}", *arguments, f"http://{daemon.http()}/"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        try:
            out, log = process.communicate(timeout=scaled(40))
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)  # its own group, whatever is left of it
            except ProcessLookupError:
                pass
        self.assertEqual(process.returncode, 0, log)
        self.assertEqual([line for line in log.splitlines() if "CONSOLE" in line], [], "the browser complained")
        return out

    def test_both_pages_show_what_runs_and_what_it_does(self):
        for i in range(30):
            self.assert_success(self.trigger_input("greeter", i))
        self.trigger("nobody")
        wait_until("all are reported", lambda: self.dispatcher.metrics()['compozy_dispatcher_triggers_ended_total{status="SUCCESS"}'] == 30, 5)
        page = self.read(self.dispatcher)
        self.assertEqual(page.title, "d1 · Compozy dispatcher")
        self.assertEqual(page.tiles["Live runtimes"], "1")
        self.assertNotEqual(page.tiles["Triggers/s"], "0.0")
        names, row = page.tables["Runtimes"]
        self.assertEqual([row[names.index(name)] for name in ("runtime", "state", "in flight", "done", "labels")],
                         ["r1", "live", "0 of 1,024", "30", "zone=a"])
        self.assertIn(["SUCCESS", "30"], page.tables["Outcomes"])
        self.assertIn(["AGENT_UNKNOWN", "1"], page.tables["Outcomes"])
        self.assertEqual(page.tables["How long it takes"][1][4], "30")
        self.assertEqual(page.tables["Connection to NATS"][1][1], "connected")

        self.control("pause_agent", "tally")
        page = self.read(self.runtime, "/?sort=handled")
        self.assertEqual(page.title, "r1 · Compozy runtime")
        agents = {row[0]: row for row in page.tables["Agents, most handled first"]}
        self.assertEqual(list(agents)[1], "greeter")
        self.assertEqual(agents["greeter"][2:6], ["running", "0 of 1,000", "0", "30"])
        self.assertEqual(agents["tally"][2], "paused")
        self.assertIn("Agents, those first that need attention", self.read(self.runtime, "/?sort=<script>").tables)

    def test_the_page_says_what_is_wrong(self):
        broken = exec_agent(exec={"command": ["/bin/sh", "-c", "echo '<b>' >&2; exit 3"]})
        self.world.agents_dir("r1", {"zz-broken": broken})
        self.runtime.signal(signal.SIGHUP)
        self.wait_agent("zz-broken", "failed")
        row = self.read(self.runtime).tables["Agents, those first that need attention"][1]
        self.assertEqual((row[0], row[2]), ("zz-broken", "failed"))
        self.assertIn("exited with status 3", row[9])
        first = self.control("list_agents", {"sort": "attention", "limit": 1})["agents"]
        self.assertEqual([agent["agent_id"] for agent in first], ["zz-broken"])

        self.world.nats.kill()
        for daemon in (self.dispatcher, self.runtime):
            wait_until(f"{daemon.name} says it on its page", lambda daemon=daemon: "not ready" in daemon.get("/")[1], 5)
            self.assertEqual(self.read(daemon).tables["Connection to NATS"][1][1], "not connected")

    def test_of_very_many_agents_and_runtimes_it_shows_some_and_counts_the_others(self):
        directory = self.world.agents_dir("r1", {f"agent-{number:04}": "echo" for number in range(1200)})
        self.assertTrue(directory)
        self.runtime.signal(signal.SIGHUP)
        wait_until("the agents are there", lambda: self.control("status")["agents"] == 1203, 20)
        fakes = [FakeRuntime(self.client, f"fake-{number:03}", max_in_flight=1, interval_ms=10000) for number in range(130)]
        for fake in fakes:
            self.client.publish(f"compozy.events.agent.definition.{fake.id}.registered", fake.registration())
        wait_until("all are registered", lambda: self.verb_ok("list_runtimes", {"limit": 1})["total"] == 131, 10)
        for daemon, table, more in ((self.dispatcher, "Runtimes", "and 31 more"), (self.runtime, "Agents, those first that need attention", "and 1,103 more")):
            status, text = daemon.get("/")
            self.assertEqual(status, 200)
            self.assertEqual(len(Reader(text).tables[table]), 101)
            self.assertIn(more, text)
            self.assertLess(len(text), 100000)

    def test_names_are_shown_and_never_run_in_a_browser(self):
        fake = FakeRuntime(self.client, "fake")
        fake.start_beating().register(hostname=HOSTILE, version='"><script>1</script>', labels={"zone": "</td><script>2</script>"})
        self.wait_runtimes("r1", "fake")
        page = Reader(self.browse(self.dispatcher, "--dump-dom"))
        self.assertEqual(page.title, "d1 · Compozy dispatcher")
        row = next(row for row in page.tables["Runtimes"] if row[0] == "fake")
        self.assertIn(HOSTILE[:60], row[8])
        self.assertEqual(row[9], '"><script>1</script>')
        self.assertIn("</td><script>2</script>", row[10])
        self.assertFalse(page.tags & {"script", "img", "iframe", "link", "object"}, page.tags)
        self.assertFalse({name for name in page.attributes if name.startswith("on") or name == "src"})
        with urllib.request.urlopen(f"http://{self.dispatcher.http()}/", timeout=scaled(5)) as answer:
            self.assertTrue(answer.headers["Content-Security-Policy"].startswith("default-src 'none'"))
            self.assertFalse(re.search(rb"(?:https?:)?//(?!127)", answer.read().replace(b"nats://", b"")), "it names something elsewhere")

    def test_a_browser_draws_the_page_of_a_runtime(self):
        picture = os.path.join(self.world.directory, "page.png")
        self.browse(self.runtime, "--window-size=500,900", "--hide-scrollbars", f"--screenshot={picture}")
        with open(picture, "rb") as file:
            head = file.read(24)
        self.assertEqual(struct.unpack(">II", head[16:24]), (500, 900))
        self.assertGreater(os.path.getsize(picture), 20000)  # an empty page is a few thousand bytes


if __name__ == "__main__":
    unittest.main()
