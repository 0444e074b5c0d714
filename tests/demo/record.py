#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""
Makes docs/demo.svg, the recording in the README, of a real run: a private nats-server, a dispatcher, two runtimes, and panes of tmux in which
compozyctl is typed. What is seen is what was printed; only the typing is ours, and waiting for programs to start is cut out.

  record.py [FILE]

Needs python3-pyte and tmux (make recording installs them).
"""

import os
import random
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(HERE, os.pardir, "e2e"))

import harness  # noqa: E402
from screencast import Screencast, write_svg  # noqa: E402

COLUMNS, ROWS = 100, 30
TOP_ROWS, LAST_ROWS = 11, 9  # the pane above, and the one below
TITLE = "A terminal, recorded: two runtimes, a live view, twenty thousand tasks, a runtime killed in the middle of them, and none of them lost"
AGENTS = {
    "greeter": {"agent_type": "echo"},
    "thumbnails": {"agent_type": "delay", "parameters": {"ms": 25}},
    "summarizer": {"agent_type": "exec", "exec": {"command": ["python3", os.path.join(ROOT, "examples", "exec", "summarizer.py")]}},
}


class Play:
    def __init__(self, world):
        self.world = world
        self.random = random.Random(7)  # the same rhythm each time
        self.socket = os.path.join(world.directory, "tmux")
        home = os.path.join(world.directory, "home")
        os.makedirs(home)
        environment = {"HOME": home, "TERM": "screen-256color", "LANG": "C.UTF-8", "SHELL": "/bin/bash",
                       "PATH": "/usr/bin:/bin"}
        with open(os.path.join(home, "tmux.conf"), "w", encoding="ascii") as file:
            file.write("set -g status off\nset -g default-terminal screen-256color\nset -g default-command 'bash --rcfile ~/rc'\n"
                       "set -g pane-border-style fg=colour240\nset -g pane-active-border-style fg=colour240\nset -s escape-time 0\n")
        with open(os.path.join(home, "rc"), "w", encoding="ascii") as file:
            file.write(f"PS1='$ '\nexport NATS_URL={world.nats.url} PATH={harness.BIN}:/usr/bin:/bin\n")
        self.film = Screencast(["tmux", "-S", self.socket, "-f", os.path.join(home, "tmux.conf"), "new-session"], COLUMNS, ROWS,
                               environment, world.directory)
        if not self.film.cut(10, self.prompts):
            raise AssertionError("no prompt:\n" + self.film.text())

    def close(self):
        """The server first: it would live on without the terminal that it was started from."""
        subprocess.run(["tmux", "-S", self.socket, "kill-server"], check=False, stderr=subprocess.DEVNULL)
        self.film.close()

    def tmux(self, *words):
        subprocess.run(["tmux", "-S", self.socket, *words], check=True)

    def prompts(self):
        """Is the cursor, which is in the active pane, behind an empty prompt?"""
        return self.film.screen.display[self.film.screen.cursor.y].strip() == "$"

    def type(self, text, pause=1.5, wait=30.0, until=None):
        """Into the active pane, as a person types; then until the prompt is back, or `until` comes about."""
        for piece in re.findall(r".{1,3}", text):
            self.tmux("send-keys", "-l", "--", piece)
            self.film.watch(self.random.uniform(0.07, 0.14))
        self.film.watch(0.3)
        self.tmux("send-keys", "Enter")
        self.film.watch(0.2)
        if not self.film.watch(wait, until or self.prompts):
            raise AssertionError(f"no end of: {text}\n{self.film.text()}")
        self.film.watch(pause)

    def shows(self, words):
        return lambda: words in self.film.text()


def film_it(act, runtimes, path):
    film = act.film
    act.tmux("split-window", "-v", "-l", str(ROWS - 1 - TOP_ROWS))
    film.cut(5, act.prompts)
    act.tmux("select-pane", "-U")
    film.cut(0.3)
    film.start_over()
    act.type("compozyctl top --interval 500ms", until=act.shows("right "), pause=1.5)
    act.tmux("select-pane", "-D")
    act.type("""compozyctl trigger summarizer '{"text": "To be, or not to be. That is the question."}' --wait""", pause=2.0)
    act.tmux("send-keys", "C-l")
    act.tmux("split-window", "-v", "-l", str(LAST_ROWS))
    film.watch(1.0, act.prompts)
    act.tmux("select-pane", "-U")
    act.type("compozyctl trigger thumbnails --count 20000 --concurrency 100 --retry always", pause=1.0, until=act.shows("%"))
    act.tmux("select-pane", "-D")
    act.type(f"kill -KILL {runtimes['left'].pid}    # a runtime, in the middle of its work", pause=0.3)
    runtimes["left"].expected = True
    runtimes["left"].process.wait()
    act.type("compozyctl why thumbnails", pause=0.5)
    film.watch(30, act.shows("latency"))
    film.watch(1.5)
    write_svg(path, film.frames, COLUMNS, ROWS, TITLE)
    print(f"{path}: {len(film.frames)} screens, {film.frames[-1][0]:.0f} s, {os.path.getsize(path) / 1024:.0f} KB")


def play(world, path):
    world.server(jetstream=True)
    world.dispatcher("d1")
    options = {"runtime.max_in_flight": 64, "runtime.heartbeat_interval_ms": 500}
    runtimes = {name: world.runtime(name, AGENTS, {"runtime.labels": f"zone={zone}", **options}) for name, zone in (("left", "a"), ("right", "b"))}
    act = Play(world)
    try:
        film_it(act, runtimes, path)
    finally:
        act.close()


def main():
    if not shutil.which("tmux"):
        sys.exit("record.py: tmux is not installed")
    path = sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "docs", "demo.svg")
    world = harness.World("recording")
    try:
        play(world, path)
    finally:
        world.close()


if __name__ == "__main__":
    main()
