# SPDX-License-Identifier: MIT
"""Starting, working and stopping under systemd."""

import re

import world

FILES = ("compozy-dispatcherd.service", "compozy-runtimed.service", "compozy-runtimed@.service", "compozy.target")
SERVICES = ("compozy-dispatcherd.service", "compozy-runtimed.service", "compozy-runtimed@a.service")


class Life(world.Case):
    files = {
        "/etc/compozy/runtimed.conf": "[runtime]\nid = first\n",
        "/etc/compozy/agents.d/greeter.json": {"agent_id": "greeter", "agent_type": "echo"},
    }

    def test_a_service_is_started_when_it_is_connected_and_settled(self):
        """systemctl start came back: the very first question must find everybody."""
        self.assertEqual(self.output_of(self.trigger("greeter", "hello")), "hello")
        for unit in SERVICES[:2]:
            self.assertEqual(self.show(unit, "SubState"), "running")
            self.assertIn("Ready", self.status_text(unit))

    def test_systemd_finds_nothing_to_complain_about_in_the_units(self):
        files = [f"/usr/lib/systemd/system/{name}" for name in FILES]
        done = self.box.run("systemd-analyze", "verify", "--man=no", *files, check=False)
        self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))

    def test_no_service_is_exposed_by_more_than_1_5(self):
        for unit in SERVICES:
            text = self.box.output("systemd-analyze", "security", "--no-pager", unit)
            exposure = re.search(r"exposure level for .*: ([0-9.]+) ", text)
            self.assertLessEqual(float(exposure.group(1)), 1.5, text)
