# SPDX-License-Identifier: MIT
"""
Each way to show a nats-server who one is, against a server that wants to see it: what works, what an operator is told when it does not, what
happens when secrets are replaced, and that they are shown nowhere.
"""

import base64
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
import time

import natsclient
import nkeys
from harness import BIN, PREFIX, VERBS, Case, Daemon, NatsServer, scaled, wait_until

CONNECTED = r"NATS.*connected|connected to NATS"


def openssl(*words):
    subprocess.run(["openssl", *words], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=30)


class Certificates:
    """A CA, and what it has signed, in a directory."""

    def __init__(self, directory, name="ca"):
        self.directory, self.name = directory, name
        self.ca = os.path.join(directory, name + ".pem")
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", self.path(name + ".key"),
                "-out", self.ca, "-subj", f"/CN={name}", "-days", "2")

    def path(self, name):
        return os.path.join(self.directory, name)

    def make(self, name, names="IP:127.0.0.1,DNS:localhost", expired=False):
        """(certificate, key)"""
        certificate, key, request, extensions = (self.path(name + suffix) for suffix in (".pem", ".key", ".csr", ".ext"))
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        with open(extensions, "w", encoding="ascii") as file:
            file.write(f"subjectAltName={names}")
        if expired:  # times of one's own are for `openssl ca` only: `x509 -days -1` is refused by OpenSSL 3.5, `-not_after` not known to 3.0
            configuration = self.path("ca.conf")
            with open(configuration, "w", encoding="ascii") as file:
                file.write(f"[ca]\ndefault_ca = a\n[a]\ndatabase = {self.path('index')}\nnew_certs_dir = {self.directory}\ndefault_md = sha256\nrand_serial = yes\n"
                           "policy = p\n[p]\ncommonName = supplied\n")
            with open(self.path("index"), "w", encoding="ascii"):
                pass
            openssl("ca", "-batch", "-config", configuration, "-in", request, "-cert", self.ca, "-keyfile", self.path(self.name + ".key"),
                    "-startdate", "20240101000000Z", "-enddate", "20240102000000Z", "-extfile", extensions, "-notext", "-out", certificate)
        else:
            openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.path(self.name + ".key"), "-CAcreateserial", "-out", certificate,
                    "-extfile", extensions, "-days", "2")
        return certificate, key


def lenient(certificate=None):
    """For the tests' own client, which is not what is tested."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if certificate:
        context.load_cert_chain(*certificate)
    return context


class AuthCase(Case):
    shared = True

    def build(self):
        self.counts = {"names": 0}

    def name(self, kind):
        self.counts["names"] += 1
        return f"{kind}{self.counts['names']}"

    def write(self, name, text):
        path = os.path.join(self.world.directory, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def serve(self, configuration, **access):
        name = self.name("nats")
        server = NatsServer(self.world, name=name, config=self.write(name + ".conf", configuration), access=access)
        self.world.processes.append(server)
        self.world.nats = server
        server.start()
        self.addCleanup(server.terminate)
        return server

    def try_to_connect(self, server, options=None, url=None):
        """A dispatcher, that was started and is not waited for."""
        name = self.name("d")
        daemon = self.world.dispatcher(name, options, wait=False, url=url and url.replace("{}", str(server.port)))
        self.addCleanup(daemon.terminate)
        return daemon

    def assert_connects(self, server, options=None, url=None):
        daemon = self.try_to_connect(server, options, url)
        daemon.wait_ready()
        return daemon

    def assert_refused(self, server, reason, key, options=None, url=None):
        """It says why, and names the key to look at."""
        daemon = self.try_to_connect(server, options, url)
        daemon.wait_log(f"could not connect: .*{re.escape(reason)}.*{re.escape(key)}|could not connect: .*{re.escape(key)}.*{re.escape(reason)}")
        self.assertFalse(daemon.is_ready())
        return daemon


class Credentials(AuthCase):
    def test_user_and_password_in_the_address(self):
        server = self.serve('authorization { user: ada, password: "s3cr3t-word" }', url="nats://ada:s3cr3t-word@127.0.0.1:{}".format)
        self.assert_connects(server, url="nats://ada:s3cr3t-word@127.0.0.1:{}")
        for url in ("nats://ada:another-word@127.0.0.1:{}", "nats://bob:s3cr3t-word@127.0.0.1:{}"):
            daemon = self.assert_refused(server, "Authorization Violation", "nats.url", url=url)
            self.assertNotRegex(daemon.log(), "s3cr3t-word|another-word")
        self.assert_refused(server, "Authorization Violation", "nats.credentials", url="nats://127.0.0.1:{}")

    def test_a_password_with_special_characters_is_percent_encoded_in_the_address(self):
        url = "nats://ada:p%40ss%3Aw%2Ford%25@127.0.0.1:{}"
        server = self.serve('authorization { user: ada, password: "p@ss:w/ord%" }', url=url.format)
        self.assert_connects(server, url=url)
        # given with one address of several, it is meant for all
        self.assert_connects(server, url=f"{url.replace('127.0.0.1:{}', 'localhost:1')},nats://localhost:{{}}")

    def test_a_token_in_the_address(self):
        server = self.serve("authorization { token: t0ken-w0rd }", url="nats://t0ken-w0rd@127.0.0.1:{}".format)
        self.assert_connects(server, url="nats://t0ken-w0rd@127.0.0.1:{}")
        daemon = self.assert_refused(server, "Authorization Violation", "nats.url", url="nats://another-token@127.0.0.1:{}")
        self.assertNotIn("another-token", daemon.log())

    def test_a_signature_that_begins_with_a_zero_byte_costs_an_attempt_and_no_login(self):
        """One nonce in 256 has one; nats.c sends it as none, and a server would say that it does not know the key."""
        key = nkeys.Key()
        nonces = (f"nonce-{number}" for number in range(100000))
        unlucky = next(nonce for nonce in nonces if key.sign(nonce.encode())[0] == 0)
        lucky = next(nonce for nonce in nonces if key.sign(nonce.encode())[0] != 0)
        said = []

        def serve(listener):
            for nonce in (unlucky, lucky):
                connection, _ = listener.accept()
                with connection:
                    info = {"server_id": "X", "version": "2.9.0", "max_payload": 1048576, "auth_required": True, "nonce": nonce, "headers": True}
                    connection.sendall(f"INFO {json.dumps(info)}\r\n".encode())
                    try:
                        said.append(connection.recv(65536))
                    except ConnectionResetError:
                        said.append(b"")

        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=serve, args=(listener,), daemon=True)
            thread.start()
            self.ctl("-s", f"nats://127.0.0.1:{listener.getsockname()[1]}", "-o", f"nats.nkey_seed_file={self.write('zero.nk', key.seed)}", "agents",
                     url="nats://127.0.0.1:1")
            thread.join(scaled(10))
        self.assertEqual(said[0], b"")
        connect = json.loads(said[1].split(b"\r\n")[0].removeprefix(b"CONNECT "))
        self.assertEqual(base64.urlsafe_b64decode(connect["sig"] + "=="), key.sign(lucky.encode()))

    def test_an_nkey_and_one_that_was_rotated_while_the_daemons_ran(self):
        keys = [nkeys.Key(), nkeys.Key(), nkeys.Key()]
        seed = self.write("daemon.nk", keys[0].seed)

        def configuration(key):
            return f"authorization {{ users: [ {{ nkey: {keys[2].public} }}, {{ nkey: {key.public} }} ] }}"

        server = self.serve(configuration(keys[0]), seed=keys[2].seed)
        dispatcher = self.assert_connects(server, {"nats.nkey_seed_file": seed}, "nats://127.0.0.1:{}")
        runtime = self.world.runtime(self.name("r"), options={"nats.nkey_seed_file": seed})
        self.addCleanup(runtime.terminate)
        self.assert_refused(server, "Authorization Violation", "nats.nkey_seed_file",
                            {"nats.nkey_seed_file": self.write("other.nk", keys[1].seed)}, "nats://127.0.0.1:{}")

        self.write(os.path.basename(server.extra[1]), configuration(keys[1]))
        server.signal(signal.SIGHUP)
        for daemon in (dispatcher, runtime):
            daemon.wait_log(r"could not connect: Authorization Violation: .*nats\.nkey_seed_file")
        self.write("daemon.nk", keys[1].seed)
        for daemon in (dispatcher, runtime):
            daemon.wait_ready()
        self.write("daemon.nk", "nothing that is a seed")
        server.kill()
        server.start()
        for daemon in (dispatcher, runtime):
            daemon.wait_log(r"could not connect: nats\.nkey_seed_file: .*daemon\.nk holds no valid user seed")
        self.write("daemon.nk", keys[1].seed)
        for daemon in (dispatcher, runtime):
            daemon.wait_ready()

    def test_a_credentials_file_and_one_whose_user_has_expired(self):
        operator = nkeys.Operator()
        mine, seed = operator.user("tests")
        server = self.serve(operator.server_configuration(), jwt=mine, seed=seed)
        creds = self.write("long.creds", nkeys.credentials(*operator.user("daemon")))
        daemon = self.assert_connects(server, {"nats.credentials": creds}, "nats://127.0.0.1:{}")
        self.assertNotRegex(daemon.log(), r"\bSU[A-Z2-7]{40}|eyJ")

        stranger = self.write("stranger.creds", nkeys.credentials(*nkeys.Operator().user("stranger")))
        self.assert_refused(server, "Authorization Violation", "nats.credentials", {"nats.credentials": stranger}, "nats://127.0.0.1:{}")
        self.assert_refused(server, "Authorization Violation", "nats.credentials", url="nats://127.0.0.1:{}")

        def write_brief():
            self.write("brief.creds", nkeys.credentials(*operator.user("brief", expires_in=3)))
            return time.monotonic() + 3

        expires_at = write_brief()
        expiring = self.try_to_connect(server, {"nats.credentials": os.path.join(self.world.directory, "brief.creds")}, "nats://127.0.0.1:{}")

        def is_connected():  # on a machine so slow that it expires before that, with another
            nonlocal expires_at
            if time.monotonic() > expires_at:
                expires_at = write_brief()
            return expiring.is_ready()

        wait_until("it is connected", is_connected, 30)
        expiring.wait_log(r"(Authentication Expired|could not connect): .*nats\.credentials", 15)
        self.write("brief.creds", nkeys.credentials(*operator.user("renewed")))
        expiring.wait_ready()

    def test_a_file_that_can_not_be_used_ends_the_start_and_is_named(self):
        server = self.serve("")
        damaged = self.write("damaged.nk", nkeys.Key().seed[:-2] + "AA")
        ca = self.write("no.pem", "no certificate")
        for options, words in (({"nats.nkey_seed_file": "/nonexistent.nk"}, "nats.nkey_seed_file: /nonexistent.nk: No such file"),
                               ({"nats.nkey_seed_file": damaged}, "nats.nkey_seed_file: "), ({"nats.credentials": "/nonexistent.creds"}, "nats.credentials: "),
                               ({"nats.credentials": damaged, "nats.nkey_seed_file": damaged}, "are both given"), ({"nats.tls_ca": ca}, "nats.tls_ca: "),
                               ({"nats.tls_cert": ca}, "nats.tls_cert needs nats.tls_key")):
            daemon = self.try_to_connect(server, options)
            self.assertNotEqual(daemon.wait(), 0)
            self.assertIn(words, daemon.log())
            self.assertNotRegex(daemon.log(), r"\bSU[A-Z2-7]{40}")


class Tls(AuthCase):
    def build(self):
        super().build()
        self.certificates = Certificates(self.world.directory)
        self.others = Certificates(self.world.directory, "others")
        self.good = self.certificates.make("server")
        self.member = self.certificates.make("member", "DNS:member")

    def serve_tls(self, certificate, verify=False):
        verification = f', ca_file: "{self.certificates.ca}", verify: true' if verify else ""
        return self.serve(f'tls {{ cert_file: "{certificate[0]}", key_file: "{certificate[1]}"{verification} }}',
                          tls=lenient(self.member if verify else None))

    def test_a_server_is_believed_with_a_certificate_of_the_configured_ca_only(self):
        server = self.serve_tls(self.good)
        trusting = {"nats.tls_ca": self.certificates.ca}
        self.assert_connects(server, trusting)
        self.assert_connects(server, trusting, "tls://localhost:{}")
        runtime = self.world.runtime(self.name("r"), options=trusting)
        self.addCleanup(runtime.terminate)
        self.assert_refused(server, "certificate", "nats.tls_ca", {"nats.tls_ca": self.others.ca})
        self.assert_refused(server, "certificate", "nats.tls_ca")
        self.assert_refused(server, "certificate", "nats.tls_ca", url="tls://127.0.0.1:{}")

    def test_an_expired_certificate_and_one_for_another_host_are_refused(self):
        trusting = {"nats.tls_ca": self.certificates.ca}
        server = self.serve_tls(self.certificates.make("expired", expired=True))
        self.assert_refused(server, "certificate has expired", "server's certificate must be renewed", trusting)
        server = self.serve_tls(self.certificates.make("elsewhere", "DNS:elsewhere.example"))
        self.assert_refused(server, "address mismatch", "nats.url", trusting)
        self.assert_refused(server, "ostname mismatch", "nats.url", trusting, "tls://localhost:{}")

    def test_a_daemon_that_is_stopped_in_the_middle_of_a_handshake_ends_in_order(self):
        server = self.serve_tls(self.good)
        daemons = [self.try_to_connect(server) for _ in range(6)]
        for number, daemon in enumerate(daemons):
            daemon.wait_log("could not connect")
            time.sleep(number * 0.01)  # no condition: some of them are to meet the next attempt
            daemon.signal(signal.SIGTERM)
        self.assertEqual([daemon.wait() for daemon in daemons], [0] * 6)

    def test_a_server_without_tls_is_not_talked_to_when_it_is_asked_for(self):
        server = self.serve("")
        self.assert_refused(server, "Secure Connection not available", "nats.tls_", {"nats.tls_ca": self.certificates.ca})

    def test_a_server_that_verifies_clients_takes_those_of_its_ca_only(self):
        server = self.serve_tls(self.good, verify=True)
        trusting = {"nats.tls_ca": self.certificates.ca}

        def showing(certificate):
            return dict(trusting, **{"nats.tls_cert": certificate[0], "nats.tls_key": certificate[1]})

        self.assert_connects(server, showing(self.member))
        self.assert_refused(server, "the server hung up", "nats.tls_cert", trusting)
        self.assert_refused(server, "the server hung up", "nats.tls_cert", showing(self.others.make("stranger")))
        daemon = self.try_to_connect(server, showing((self.member[0], self.good[1])))
        self.assertNotEqual(daemon.wait(), 0)
        self.assertIn("nats.tls_key", daemon.log())

    def test_certificates_that_were_replaced_are_taken_with_the_next_connection(self):
        ca = self.write("trusted.pem", "")
        with open(self.certificates.ca, encoding="ascii") as file:
            self.write("trusted.pem", file.read())
        server = self.serve_tls(self.good)
        daemon = self.assert_connects(server, {"nats.tls_ca": ca})
        replaced = self.others.make("server")  # under the name that the server's configuration has
        self.assertEqual(replaced, self.good)
        server.kill()
        server.start()
        daemon.wait_log("could not connect: .*nats.tls_ca")
        with open(self.others.ca, encoding="ascii") as file:
            self.write("trusted.pem", file.read())
        daemon.wait_ready()
        self.certificates.make("server")


class Secrets(Case):
    """A password in the configuration or the environment: nothing that the daemons show has it."""

    def build(self):
        self.secret = "xyzzy-4711"
        path = os.path.join(self.world.directory, "nats.conf")
        with open(path, "w", encoding="ascii") as file:
            file.write(f'authorization {{ user: ada, password: "{self.secret}" }}')
        self.world.server(config=path, access={"url": f"nats://ada:{self.secret}@127.0.0.1:{{}}".format}, jetstream=True)

    def start(self, program, options, by_environment):
        """Like Daemon, but the address does not stand on the command line."""
        name = program.rpartition("-")[2]
        command = [os.path.join(BIN, program), "-o", "log.target=stderr", "-o", "log.level=debug", "-o", "http.listen=127.0.0.1:0"]
        for key, value in options.items():
            command += ["-o", f"{key}={value}"]
        daemon = Daemon(self.world, program, name, {})
        daemon.arguments = command
        if by_environment:
            daemon.arguments = ["env", f"NATS_URL={self.world.nats.url}", *command]
        else:
            path = os.path.join(self.world.directory, name + ".conf")
            with open(path, "w", encoding="ascii") as file:
                file.write(f"[nats]\nurl = {self.world.nats.url}\n")
            daemon.arguments = [*command, "-c", path]
        return self.world.add(daemon).start()

    def shown(self, daemon):
        texts = {"log": daemon.log(since=0)}
        with open(f"/proc/{daemon.pid}/cmdline", encoding="utf-8") as file:
            texts["cmdline"] = file.read()
        for thread in os.listdir(f"/proc/{daemon.pid}/task"):
            try:
                with open(f"/proc/{daemon.pid}/task/{thread}/comm", encoding="utf-8") as file:
                    texts[f"comm of {thread}"] = file.read()
            except (FileNotFoundError, ProcessLookupError):  # nats.c's threads come and go
                pass
        for path in ("/metrics", "/healthz", "/readyz", "/"):
            texts[path] = daemon.get(path)[1]
        return texts

    def test_no_secret_is_in_logs_or_process_titles_or_metrics_or_answers(self):
        directory = self.world.agents_dir("runtimed", {"greeter": "echo"})
        dispatcher = self.start("compozy-dispatcherd", {"dispatcher.id": "d1"}, by_environment=False)
        runtime = self.start("compozy-runtimed", {"runtime.id": "r1", "runtime.agents_dir": directory}, by_environment=True)
        client = self.client = self.world.client()
        self.wait_runtimes("r1")
        heard = client.subscribe(">")
        client.flush()
        self.assert_success(self.trigger_input("greeter", 1))
        for verb in ("status", "list_runtimes", "list_agents"):
            client.request(f"{VERBS}.{verb}", "{}", scaled(5))
        client.request(f"{PREFIX}.runtime.r1.control.status", "{}", scaled(5))
        client.request_many("$SRV.INFO", window=scaled(5), enough=2)
        for daemon in (dispatcher, runtime):
            daemon.signal(signal.SIGHUP)
            daemon.wait_log("was read again")
        self.world.nats.kill()
        for daemon in (dispatcher, runtime):
            daemon.wait_log("could not connect")
        self.world.nats.start()
        for daemon in (dispatcher, runtime):
            daemon.wait_ready()
            for what, text in self.shown(daemon).items():
                self.assertNotIn(self.secret, text, f"{daemon.name}: {what}")
        self.assertEqual([message for message in heard.taken() if self.secret.encode() in message.data + str(message.headers).encode()], [])
        for message in ("--check-config", "--help", "--version"):
            done = subprocess.run([*dispatcher.arguments, message], capture_output=True, timeout=scaled(10), check=False)
            self.assertNotIn(self.secret.encode(), done.stdout + done.stderr)

    def test_a_listener_is_on_loopback_unless_told_otherwise(self):
        daemon = self.start("compozy-dispatcherd", {}, by_environment=False)
        daemon.terminate()
        place = daemon.arguments.index("http.listen=127.0.0.1:0")
        del daemon.arguments[place - 1:place + 1]
        daemon.start()
        inodes = set()
        for entry in os.listdir(f"/proc/{daemon.pid}/fd"):
            try:
                inodes.update(re.findall(r"socket:\[(\d+)\]", os.readlink(f"/proc/{daemon.pid}/fd/{entry}")))
            except FileNotFoundError:  # a connection that has ended
                pass
        addresses = []
        for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
            with open(f"/proc/{daemon.pid}/net/{table}", encoding="ascii") as file:
                rows = [line.split() for line in file.readlines()[1:]]
            addresses += [(family, row[1].partition(":")[0]) for row in rows if row[3] == "0A" and row[9] in inodes]
        self.assertEqual(addresses, [(socket.AF_INET, "0100007F")])

    def test_compozyctl_shows_no_secret_when_it_is_refused(self):
        url = f"nats://ada:wrong-{self.secret}@127.0.0.1:{self.world.nats.port}"
        for words in (["status"], ["--json", "status"], ["context", "save", "x"], ["context", "list"], ["context", "show", "x"]):
            done = self.ctl(*words, url=url)
            self.assertNotIn(self.secret, done.stdout + done.stderr, words)
