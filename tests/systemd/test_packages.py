# SPDX-License-Identifier: MIT
"""The Debian packages: installed, upgraded under load, removed and purged, in a machine that had none of it."""

import glob
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import container
import world

sys.path.insert(0, os.path.join(container.ROOT, "tests", "e2e"))

import load  # noqa: E402

NAMES = ("compozy-common", "compozy-dev", "compozy-dispatcherd", "compozy-runtimed", "compozyctl")
PREVIOUS = "0.0.9"


def build():
    """{name: file} of this tree's packages; lintian is content with them."""
    done = subprocess.run(["make", "-C", container.ROOT, "--no-print-directory", "deb"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False)
    if done.returncode != 0:
        raise AssertionError(f"make deb: {done.stdout[-3000:]}")
    version = subprocess.run(["dpkg-parsechangelog", "-l", os.path.join(container.ROOT, "debian", "changelog"), "-S", "Version"],
                             capture_output=True, text=True, check=True).stdout.strip()
    return {name: glob.glob(os.path.join(container.ROOT, "build", "deb", f"{name}_{version}_*.deb"))[0] for name in NAMES}


def as_previous(package, directory):
    """The same under a lower version: what an upgrade comes from."""
    tree = os.path.join(directory, os.path.basename(package))
    subprocess.run(["dpkg-deb", "-R", package, tree], check=True)
    control = os.path.join(tree, "DEBIAN", "control")
    with open(control, encoding="utf-8") as file:
        lines = file.read().splitlines()
    version = next(line.split()[1] for line in lines if line.startswith("Version:"))
    with open(control, "w", encoding="utf-8") as file:
        for line in lines:
            file.write((line.replace(version, PREVIOUS) if line.startswith(("Version:", "Depends:")) else line) + "\n")
    made = os.path.join(directory, os.path.basename(package).replace(f"_{version}_", f"_{PREVIOUS}_"))
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, made], stdout=subprocess.DEVNULL, check=True)
    shutil.rmtree(tree)
    return made


class Packages(world.Case):
    @classmethod
    def setUpClass(cls):
        if world.tree.suite != container.host_suite():
            raise unittest.SkipTest("packages are built for this machine's own release")
        cls.packages = build()
        directory = tempfile.mkdtemp(prefix="previous-", dir=world.tree.directory)
        cls.addClassCleanup(shutil.rmtree, directory, ignore_errors=True)
        cls.previous = {name: as_previous(path, directory) for name, path in cls.packages.items()}
        super().setUpClass()

    @classmethod
    def new_box(cls):
        return container.Container(world.tree)

    @classmethod
    def set_up_box(cls):
        cls.start("nats-server")
        for name in NAMES:
            cls.box.copy_in(cls.previous[name], f"/root/previous/{name}.deb")
            cls.box.copy_in(cls.packages[name], f"/root/new/{name}.deb")
        cls.before = set(cls.paths())

    @classmethod
    def paths(cls):
        return cls.box.shell("find /etc /usr /lib /var/lib /run/systemd/system -xdev"
                             " ! -path '/var/lib/dpkg/*' ! -path '/var/lib/nats*' ! -path '/var/lib/systemd/*' | sort").splitlines()

    def dpkg(self, *arguments):
        return self.box.shell(f"DEBIAN_FRONTEND=noninteractive dpkg {' '.join(arguments)} </dev/null 2>&1", timeout=300)

    def test_packages_install_run_upgrade_under_load_and_purge(self):
        """One test: each part needs the one before."""
        self.installs_and_runs()
        self.upgrades_under_load()
        self.a_stopped_service_stays_stopped()
        self.removal_stops_and_purge_leaves_nothing()

    def installs_and_runs(self):
        self.dpkg("-i", "/root/previous/*.deb")
        for unit in ("compozy-dispatcherd", "compozy-runtimed"):
            self.wait_show(unit, "ActiveState", "active", 30)
            self.assertEqual(self.show(unit, "UnitFileState"), "enabled")
        self.assertEqual(self.show("compozy.target", "ActiveState"), "active")
        self.box.put("/etc/compozy/agents.d/greeter.json", '{"agent_id": "greeter", "agent_type": "echo"}')
        self.box.put("/etc/compozy/agents.d/sleeper.json", '{"agent_id": "sleeper", "agent_type": "delay"}')
        self.box.put("/etc/compozy/agents.d/tally.json", '{"agent_id": "tally", "agent_type": "counter", "checkpoint_interval_ms": 0}')
        for instance in "ab":
            self.box.put(f"/etc/compozy/runtimed-{instance}.conf", f"[runtime]\nid = {instance}\n")
        self.box.run("systemctl", "reload", "compozy-runtimed")
        self.start("compozy-runtimed@a", "compozy-runtimed@b")
        world.wait_until("three runtimes are live", lambda: [one["state"] for one in self.runtimes().values()] == ["live"] * 3)
        self.assertEqual(self.output_of(self.trigger("greeter", "hello")), "hello")
        self.assertIn("All is well", self.box.output("compozyctl", "status"))
        self.assertIn("compozyctl", self.box.output("dpkg", "-S", "/usr/share/bash-completion/completions/compozyctl"))

    def upgrades_under_load(self):
        """A second dispatcher stands for the one on another host; each process of this one is restarted, and nothing is lost."""
        self.box.run("systemd-run", "--unit=other", "--property=Type=notify", "--", "/usr/bin/compozy-dispatcherd", "-o", "dispatcher.id=other")
        before = {unit: self.show(unit, "MainPID") for unit in ("compozy-dispatcherd", "compozy-runtimed", "compozy-runtimed@a", "compozy-runtimed@b")}
        running = load.Load(self.client(), [("greeter", lambda n: {"n": n}, 6), ("sleeper", {"ms": 30}, 2), ("tally", None, 1)],
                            outstanding=32, deadline_ms=20000).start()
        running.wait_answered(500, 30)
        self.dpkg("-i", "/root/new/*.deb")
        running.wait_answered(running.n_sent + 500, 30)
        running.finish()
        for unit, pid in before.items():
            self.assertNotIn(self.show(unit, "MainPID"), ("0", pid), unit)
            self.assertEqual(self.show(unit, "ActiveState"), "active")
        self.assertEqual(running.counts(), {"SUCCESS": running.n_sent})
        self.assertEqual(running.answered_twice(), [])
        print(f"          {running.n_sent} triggers during the upgrade, all answered once with success", flush=True)
        self.box.run("systemctl", "stop", "other")

    def a_stopped_service_stays_stopped(self):
        self.box.run("systemctl", "stop", "compozy-dispatcherd")
        self.box.put("/etc/compozy/dispatcherd.conf", "[log]\nlevel = debug\n")
        self.dpkg("--force-confold", "-i", "/root/new/compozy-dispatcherd.deb")
        self.assertEqual(self.show("compozy-dispatcherd", "ActiveState"), "inactive")
        self.assertIn("debug", self.box.output("cat", "/etc/compozy/dispatcherd.conf"))  # what is configured stays
        self.start("compozy-dispatcherd")

    def removal_stops_and_purge_leaves_nothing(self):
        self.dpkg("-r", *NAMES)
        left = self.box.shell("systemctl list-units --plain --no-legend --all 'compozy*' | grep -v not-found || true")
        self.assertEqual([line for line in left.splitlines() if " active " in line], [])
        self.assertIn("/etc/compozy/dispatcherd.conf", self.paths())
        self.assertTrue(any("compozy-runtimed" in path for path in self.paths() if path.startswith("/var/lib/private")))
        self.dpkg("-P", *NAMES)
        left = sorted(path for path in set(self.paths()) - self.before if not path.startswith(("/etc/compozy/agents.d", "/etc/compozy/runtimed-")))
        self.assertEqual([path for path in left if path != "/etc/compozy"], [])
