# SPDX-License-Identifier: MIT
"""What docs/observability/ promises: a real Prometheus reads the metrics, and rules, dashboard and documentation know what is exported."""

import json
import os
import re
import shutil
import subprocess
import unittest
import urllib.error
import urllib.parse
import urllib.request

from harness import Case, Port, Process, ROOT, scaled, wait_until

PAGES = os.path.join(ROOT, "docs", "observability")
UNPACKED = os.path.join(ROOT, "build", "tools", "prometheus", "usr", "bin")
NAME = re.compile(r"\b(?:compozy_(?:dispatcher|runtime|nats|tracing|build)|process)_[a-z_]*[a-z]\b")
PARTS = re.compile(r"_(?:bucket|sum|count)$")
TARGET_LABELS = {"instance", "job", "le"}  # Prometheus' own


def tool(name):
    """Prometheus or promtool: installed, or unpacked by `make tools`."""
    path = shutil.which(name) or os.path.join(UNPACKED, name)
    if not os.path.exists(path):
        raise unittest.SkipTest(f"{name} is not installed; `make tools` unpacks it from a Debian package")
    return path


def page(name):
    with open(os.path.join(PAGES, name), encoding="utf-8") as file:
        return file.read()


def families(text):
    """{name: (type, labels)} of a /metrics page."""
    found = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            name, kind = line.split()[2:4]
            found[name] = (kind, set())
        elif line and not line.startswith("#"):
            name, _, labels = line.rpartition(" ")[0].partition("{")
            if name not in found:
                name = PARTS.sub("", name)
            found[name][1].update(re.findall(r'(\w+)="', labels))
    return {name: (kind, labels - {"le"}) for name, (kind, labels) in found.items()}


def expressions():
    """[(where, PromQL)] of all rules and all panels."""
    found = [("alert " + name, text) for name, text in re.findall(r"- alert: (\w+)\n\s+expr: (.*)", page("alerts.yml"))]
    for panel in json.loads(page("dashboard.json"))["panels"]:
        for target in panel.get("targets", ()):
            found.append((f"panel {panel['title']}", target["expr"]))
    return found


def concrete(expression):
    """Without what Grafana fills in."""
    return expression.replace("$__rate_interval", "1m").replace("$dispatcher", ".*").replace("$runtime", ".*")


class Prometheus(Process):
    def __init__(self, world, targets):
        self.held = Port()
        self.address = f"127.0.0.1:{self.held.number}"
        directory = os.path.join(world.directory, "prometheus")
        os.makedirs(directory)
        for name in ("alerts.yml", "prometheus.yml"):
            shutil.copy(os.path.join(PAGES, name), directory)
        config = os.path.join(directory, "prometheus.yml")
        with open(config, encoding="utf-8") as file:
            text = file.read()
        for job, addresses in targets.items():
            text = re.sub(rf"(job_name: {job}\n.*\n.*targets: ).*", rf"\g<1>{addresses}", text)
        with open(config, "w", encoding="utf-8") as file:
            file.write(re.sub(r"_interval: 15s", "_interval: 250ms", text))
        super().__init__(world, "prometheus", [
            tool("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={directory}/data", f"--web.listen-address={self.address}",
            "--log.level=warn"])

    def ask(self, path, **parameters):
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=scaled(5)) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            text = error.read().decode()
            return json.loads(text) if text.startswith("{") else {"status": text}  # "Service Unavailable": it is starting
        except OSError:
            return {"status": "unreachable"}

    def value(self, expression):
        """Of a query with one result; None when there is none (yet)."""
        found = self.ask("query", query=expression).get("data", {}).get("result", [])
        return float(found[0]["value"][1]) if len(found) == 1 else None


class Observability(Case):
    shared = True
    bound = 60.0

    def build(self):
        tool("prometheus")
        self.world.server()
        store = os.path.join(self.world.directory, "state.db")
        nobody = {"tracing.otlp_endpoint": "http://127.0.0.1:1"}
        self.dispatcher = self.world.dispatcher(options=nobody)
        self.runtime = self.world.runtime("r1", options={**nobody, "metrics.agents_max": 2, "runtime.state_store": f"sqlite:{store}"})
        self.client = self.world.client()
        self.wait_runtimes("r1")
        self.prometheus = self.world.add(Prometheus(self.world, {
            "compozy-dispatcherd": [self.dispatcher.http()], "compozy-runtimed": [self.runtime.http()]})).spawn()
        wait_until("Prometheus has scraped both", lambda: self.prometheus.value('sum(up{job=~"compozy.*"})') == 2, 20)

    def promtool(self, *arguments, stdin=None):
        done = subprocess.run([tool("promtool"), *arguments], cwd=PAGES, input=stdin, capture_output=True, text=True, timeout=scaled(30), check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def exported(self):
        found = {}
        for daemon in (self.dispatcher, self.runtime):
            found.update(families(daemon.get("/metrics")[1]))
        return found

    def test_promtool_has_no_complaint_about_the_metrics_of_either_daemon(self):
        for daemon in (self.dispatcher, self.runtime):
            self.assertEqual(self.promtool("check", "metrics", stdin=daemon.get("/metrics")[1]), "")

    def test_prometheus_tells_what_happened(self):
        for i in range(20):
            self.assert_success(self.trigger_input("greeter", i))
        self.assert_failure(self.trigger("nobody"), "AGENT_UNKNOWN")
        self.trigger_input("tally", {})
        self.control("checkpoint_agent", "tally")
        wanted = {
            'compozy_dispatcher_triggers_ended_total{status="SUCCESS"}': 21,
            'compozy_dispatcher_triggers_ended_total{status="FAILURE"}': 1,
            'compozy_dispatcher_trigger_errors_total{code="AGENT_UNKNOWN"}': 1,
            "compozy_dispatcher_triggers_total": 22,
            "compozy_dispatcher_attempts_total": 21,
            "compozy_dispatcher_queue_depth": 0,
            'compozy_dispatcher_runtimes{state="live"}': 1,
            "compozy_dispatcher_dispatch_duration_seconds_count": 21,
            "compozy_dispatcher_execution_duration_seconds_count": 21,
            'compozy_runtime_executions_total{status="SUCCESS"}': 21,
            'compozy_runtime_agents{state="running"}': 3,
            'compozy_runtime_agent_handled_total{agent_id="greeter"}': 20,
            "compozy_runtime_agents_unlisted": 1,
            "compozy_runtime_mailbox_sheds_total": 0,
            "compozy_runtime_checkpoint_duration_seconds_count > 0": 1,
            "sum(compozy_nats_up)": 2,
            'count(compozy_build_info{version!=""})': 2,
            'process_resident_memory_bytes{job="compozy-dispatcherd"} > bool 1000000': 1,
        }
        seen = {}

        def settled():
            seen.update({expression: self.prometheus.value(expression) for expression in wanted})
            return seen == wanted

        try:
            wait_until("Prometheus has all of it", settled, 10)
        except AssertionError:
            self.assertEqual(seen, wanted)
            raise

    def test_no_alert_fires_while_all_is_well(self):
        def health():
            groups = self.prometheus.ask("rules").get("data", {}).get("groups", [])
            return {rule["health"] for group in groups for rule in group["rules"]}

        wait_until("all rules were evaluated", lambda: health() == {"ok"}, 20)
        alerts = wait_until("the alerts are told", lambda: self.prometheus.ask("alerts").get("data"), 10)["alerts"]
        firing = [alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"]
        self.assertLessEqual(set(firing), {"CompozyDispatcherStarved"})  # a machine busy with tests may well cause that one

    def test_each_rule_fires_in_one_case_and_is_quiet_in_another(self):
        self.assertIn("SUCCESS", self.promtool("check", "config", "prometheus.yml"))
        self.assertIn("SUCCESS", self.promtool("test", "rules", "alerts.test.yml"))
        cases = re.findall(r"alertname: (\w+)\n.*\n\s+exp_alerts:(.*)", page("alerts.test.yml"))
        names = re.findall(r"- alert: (\w+)", page("alerts.yml"))
        self.assertEqual(len(names), len(set(names)))
        for name in names:
            self.assertEqual(sorted(rest.strip() for one, rest in cases if one == name), ["", "[]"], f"{name}: a case that fires, one that does not")

    def test_the_page_lists_exactly_what_is_exported(self):
        exported = self.exported()
        listed = {}
        for name, kind, labels in re.findall(r"^\| `(\w+)` \| (\w+) \| ?([^|]*)\|", page("README.md"), re.MULTILINE):
            self.assertNotIn(name, listed, "listed twice")
            listed[name] = (kind, set(re.findall(r"`(\w+)`", labels)))
        self.maxDiff = None  # a metric is added, named or labelled anew in docs/observability/README.md as well
        self.assertEqual(*(sorted(f"{name} {kind} {sorted(labels)}" for name, (kind, labels) in given.items()) for given in (listed, exported)))

    def test_rules_dashboard_and_documentation_name_only_what_is_exported(self):
        exported = self.exported()
        labels = set().union(*(labels for _, labels in exported.values())) | TARGET_LABELS
        for where, expression in expressions():
            for name, selector in re.findall(r"([a-z_]+)\{([^}]*)\}", expression):
                if name == "up":
                    continue
                name = name if name in exported else PARTS.sub("", name)
                self.assertIn(name, exported, where)
                for label in re.findall(r"(\w+)(?:=|!=|=~|!~)\"", selector):
                    self.assertIn(label, exported[name][1] | TARGET_LABELS, f"{where}: {name}")
            for name in NAME.findall(expression):
                self.assertTrue(name in exported or PARTS.sub("", name) in exported, f"{where}: {name}")
            for clause in re.findall(r"(?:by|on|group_left) \(([^)]*)\)", expression):
                self.assertLessEqual({label.strip() for label in clause.split(",")}, labels, where)
        for directory, _, files in os.walk(os.path.join(ROOT, "docs")):
            for file in files if os.path.basename(directory) != "__pycache__" else ():
                with open(os.path.join(directory, file), encoding="utf-8") as opened:
                    for name in NAME.findall(opened.read()):
                        known = name in exported or PARTS.sub("", name) in exported or any(one.startswith(name + "_") for one in exported)
                        self.assertTrue(known or re.search(r"_(?:durable|dead_letters|leases)$", name), f"{file}: {name}")

    def test_panels_of_the_dashboard_lie_side_by_side_and_lean_on_what_is_there(self):
        dashboard = json.loads(page("dashboard.json"))
        panels, variables = dashboard["panels"], {variable["name"] for variable in dashboard["templating"]["list"]}
        self.assertEqual(len({panel["id"] for panel in panels}), len(panels))
        self.assertLessEqual(set(re.findall(r"\$\{?(\w+)", json.dumps(dashboard))), variables | {"__rate_interval", "__all"})
        taken = {}
        for panel in panels:
            title, place = panel["title"], panel["gridPos"]
            for x in range(place["x"], place["x"] + place["w"]):
                for y in range(place["y"], place["y"] + place["h"]):
                    self.assertEqual(taken.setdefault((x, y), title), title, "two in one place")
                    self.assertLess(x, 24, title)
            if panel["type"] == "row":
                continue
            unit = panel["options"]["yAxis"]["unit"] if panel["type"] == "heatmap" else panel["fieldConfig"]["defaults"]["unit"]
            self.assertIn(unit, ("short", "s", "bytes", "percentunit", "reqps", "mps", "ops", "eps"), title)
            self.assertEqual(len({target["refId"] for target in panel["targets"]}), len(panel["targets"]), title)
            for target in panel["targets"]:
                if unit in ("reqps", "mps", "ops", "eps"):
                    self.assertIn("rate(", target["expr"], title)
                self.assertEqual(unit == "s", "_seconds_bucket" in target["expr"], title)
                for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
                    kept = re.search(r"(?:by|group_left) \(([^)]*)\)", target["expr"])
                    self.assertTrue(kept is None or label in re.split(r", *", kept.group(1)), f"{title}: {label} is summed away")
        last = max(y for _, y in taken)
        self.assertEqual(len(taken), 24 * (last + 1), "the grid has no holes")

    def test_prometheus_understands_every_expression_of_the_dashboard(self):
        seen = {}
        wait_until("rates can be told", lambda: self.prometheus.value("sum(rate(compozy_dispatcher_triggers_total[1m]))") is not None, 20)
        for where, expression in expressions():
            answer = self.prometheus.ask("query", query=concrete(expression))
            self.assertEqual(answer["status"], "success", f"{where}: {answer.get('error')}")
            seen[where] = answer["data"]["result"]
        for panel in ("Live runtimes", "Agents", "Triggers", "Triggers by outcome", "Waiting and in flight", "Executions in flight", "Versions"):
            self.assertTrue(seen[f"panel {panel}"], f"panel {panel} is empty")
        self.assertNotEqual(seen["panel Failing"][0]["value"][1], "NaN")  # also when there was nothing that could fail
