# SPDX-License-Identifier: MIT
"""docs/tutorials/systemd.md, typed in a machine that has just been booted."""

import os
import sys

import container
import world

sys.path.insert(0, os.path.join(container.ROOT, "tests", "docs"))

import blocks  # noqa: E402


class Tutorial(world.Case):
    @classmethod
    def set_up_box(cls):
        """Nothing runs yet: the page starts it."""

    def test_the_tutorial_about_a_fleet_under_systemd_works(self):
        shell = blocks.Shell(self.box.command("env", "HOME=/root", "TERM=dumb", "sh", "-c", "cd && exec bash --norc"))
        self.addCleanup(shell.close)
        for block in blocks.read(os.path.join(container.ROOT, "docs", "tutorials", "systemd.md")):
            try:
                shell.check(block, patience=20.0)
            except blocks.Wrong as error:
                self.fail(str(error))
