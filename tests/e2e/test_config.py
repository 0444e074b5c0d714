# SPDX-License-Identifier: MIT
"""Command lines and configuration files, good and bad."""

import os
import signal
import subprocess

from harness import BIN, Case, scaled, wait_until

PROGRAMS = ("compozy-dispatcherd", "compozy-runtimed")


class CommandLine(Case):
    shared = True

    def build(self):
        self.counter = 0

    def run_program(self, program, *arguments, environment=None):
        return subprocess.run([os.path.join(BIN, program), *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                              timeout=scaled(10), cwd=self.world.directory, env=dict(os.environ, **(environment or {})), check=False)

    def file(self, text, name="test.conf"):
        path = os.path.join(self.world.directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def test_help_tells_every_option_and_key_on_stdout(self):
        for program in PROGRAMS:
            done = self.run_program(program, "--help")
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            for word in ("--check-config", "--version", "nats.url", "http.listen", "log.level"):
                self.assertIn(word, done.stdout)
        self.assertIn("liveness.dead_after", self.run_program(PROGRAMS[0], "--help").stdout)
        self.assertIn("runtime.agents_dir", self.run_program(PROGRAMS[1], "--help").stdout)

    def test_version_tells_name_and_version(self):
        for program in PROGRAMS:
            done = self.run_program(program, "--version")
            self.assertEqual(done.returncode, 0)
            self.assertRegex(done.stdout, program + r" \d+\.\d+")

    def test_an_unknown_option_or_argument_ends_with_status_2(self):
        for program in PROGRAMS:
            for arguments in (["--nonsense"], ["-x"], ["argument"], ["-o"], ["-c"]):
                with self.subTest(program=program, arguments=arguments):
                    done = self.run_program(program, *arguments)
                    self.assertEqual(done.returncode, 2)
                    self.assertIn(f"{program} --help lists every option", done.stderr)
                    self.assertGreater(len(done.stderr.splitlines()), 1, "what is wrong is said, too")

    def test_check_config_of_a_good_file_ends_with_status_0(self):
        path = self.file("# a comment\n[nats]\nurl = nats://127.0.0.1:4222\n\n[log]\nlevel = debug\n")
        for program in PROGRAMS:
            done = self.run_program(program, "-c", path, "--check-config")
            self.assertEqual(done.returncode, 0, done.stderr)

    def assert_refused(self, done, *words):
        self.assertNotIn(done.returncode, (0, -6, -11), done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)

    def test_an_unknown_key_in_a_file_is_named_with_file_and_line(self):
        path = self.file("[nats]\nurl = nats://127.0.0.1:4222\n[log]\nvolume = 11\n")
        for program in PROGRAMS:
            for extra in ([], ["--check-config"]):
                self.assert_refused(self.run_program(program, "-c", path, *extra), f"{path}:4", "log.volume")

    def test_a_bad_value_in_a_file_is_named_with_file_and_line(self):
        for text, line, key in (("[log]\n\nlevel = loud\n", 3, "log.level"), ("[http]\nlisten = nowhere\n", 2, "http.listen"),
                                ("[limits]\nmax_message_bytes = lots\n", 2, "limits.max_message_bytes")):
            path = self.file(text)
            for program in PROGRAMS:
                with self.subTest(program=program, key=key):
                    self.assert_refused(self.run_program(program, "-c", path, "--check-config"), f"{path}:{line}", key)

    def test_bad_values_in_options_are_named(self):
        cases = [(PROGRAMS[0], "liveness.dead_after=never", "liveness.dead_after"), (PROGRAMS[0], "dispatcher.id=a.b", "dispatcher.id"),
                 (PROGRAMS[0], "dispatcher.queue_limit=-1", "dispatcher.queue_limit"), (PROGRAMS[1], "runtime.id=a b", "runtime.id"),
                 (PROGRAMS[1], "runtime.max_in_flight=0", "runtime.max_in_flight"), (PROGRAMS[1], "runtime.labels=zone", "runtime.labels"),
                 (PROGRAMS[1], "runtime.heartbeat_interval_ms=fast", "runtime.heartbeat_interval_ms"),
                 (PROGRAMS[0], "nonsense.key=1", "nonsense.key"), (PROGRAMS[1], "nonsense", "nonsense"),
                 (PROGRAMS[0], "nats.subject_prefix=a.*", "nats.subject_prefix"), (PROGRAMS[0], "http.listen=127.0.0.1:99999", "http.listen"),
                 (PROGRAMS[0], "runtime.id=r1", "runtime.id")]
        for program, option, key in cases:
            with self.subTest(program=program, option=option):
                self.assert_refused(self.run_program(program, "-o", option, "--check-config"), key)

    def test_a_file_that_is_not_there_or_no_ini_is_refused(self):
        for program in PROGRAMS:
            self.assert_refused(self.run_program(program, "-c", "/nonexistent/x.conf", "--check-config"), "/nonexistent/x.conf")
            path = self.file("this is no ini file\n", "no.ini")
            self.assert_refused(self.run_program(program, "-c", path, "--check-config"), f"{path}:1")

    def test_drop_ins_come_after_the_file_and_options_after_both(self):
        path = self.file("[log]\nlevel = info\n", "drop.conf")
        drop = self.file("[log]\nlevel = nonsense\n", "drop.conf.d/10-level.conf")
        self.assert_refused(self.run_program(PROGRAMS[0], "-c", path, "--check-config"), f"{drop}:2", "log.level")
        self.file("[log]\nlevel = debug\n", "drop.conf.d/10-level.conf")
        self.assertEqual(self.run_program(PROGRAMS[0], "-c", path, "--check-config").returncode, 0)

    def test_check_config_names_the_agent_definitions_that_are_not_right(self):
        for name, text, word in (("broken", "{", "broken.json"), ("no-comma", '{\n  "agent_id": "a"\n  "agent_type": "echo"\n}', "line 3, column 3: "),
                                 ("no-type", '{"agent_id": "a"}', "agent_type"),
                                 ("bad-type", '{"agent_id": "a", "agent_type": "sorcery"}', "sorcery"),
                                 ("bad-id", '{"agent_id": "a.b", "agent_type": "echo"}', "agent_id")):
            with self.subTest(name=name):
                path = self.file(text, f"agents-{name}/{name}.json")
                done = self.run_program(PROGRAMS[1], "-o", f"runtime.agents_dir={os.path.dirname(path)}", "--check-config")
                self.assert_refused(done, f"{name}.json", word)


class Reload(Case):
    def build(self):
        self.world.server()
        self.path = os.path.join(self.world.directory, "d1.conf")

    def write(self, text):
        with open(self.path, "w", encoding="utf-8") as file:
            file.write(text)

    def test_a_reload_with_a_bad_file_keeps_the_old_values_and_says_what_is_wrong(self):
        self.write("[liveness]\ndead_after = 6\n")
        d1 = self.world.dispatcher(arguments=["-c", self.path])
        self.client = self.world.client()
        self.write("[liveness]\ndead_after = never\n")
        d1.signal(signal.SIGHUP)
        d1.wait_log(r"liveness\.dead_after", 5)
        self.assertTrue(d1.is_running())
        self.assertTrue(self.verb("status")["ok"])

    def test_a_reload_takes_the_new_log_level(self):
        self.write("[log]\nlevel = notice\n")
        d1 = self.world.dispatcher(arguments=["-c", self.path])
        self.client = self.world.client()
        self.write("[log]\nlevel = debug\n")
        d1.signal(signal.SIGHUP)
        before = len(d1.log())

        def more():
            self.client.request("compozy.commands.agent.adhoc.trigger.nobody", b"{", scaled(5))
            return len(d1.log()) > before

        wait_until("it says more", more, 5)

    def test_the_environments_NATS_URL_is_the_default_of_nats_url(self):
        done = subprocess.run([os.path.join(BIN, "compozy-dispatcherd"), "--help"], capture_output=True, text=True, timeout=scaled(10), check=True)
        self.assertIn("NATS_URL", done.stdout)

    def test_a_bad_agent_definition_is_named_and_the_others_are_hosted(self):
        directory = self.world.agents_dir("r1", {"good": "echo"})
        with open(os.path.join(directory, "bad.json"), "w", encoding="utf-8") as file:
            file.write('{"agent_id": "bad", "agent_type": "sorcery"}')
        self.world.dispatcher()
        r1 = self.world.runtime("r1", agents={})
        self.client = self.world.client()
        self.wait_runtimes("r1")
        self.assertRegex(r1.log(), r"bad\.json.*sorcery")
        self.assert_success(self.trigger_input("good", 1), 1)
        self.assert_failure(self.trigger_input("bad", 1), "AGENT_UNKNOWN")

    def test_a_daemon_started_again_on_a_taken_http_port_says_so_and_ends(self):
        d1 = self.world.dispatcher("d1")
        d2 = self.world.dispatcher("d2", options={"http.listen": d1.http()}, wait=False)
        self.assertNotEqual(d2.wait(), 0)
        self.assertIn(d1.http(), d2.log())
