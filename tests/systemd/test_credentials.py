# SPDX-License-Identifier: MIT
"""Secrets that only root can read, handed to services that are not root."""

import tempfile

import world

import natsclient  # of tests/e2e, which world has put on the path
import nkeys
import test_auth

SHORT_NAMES = "[nats]\nurl = tls://127.0.0.1:4222\ncredentials = nats.credentials\ntls_ca = nats.ca\ntls_cert = nats.cert\ntls_key = nats.key\n"
SERVER = """
host: 127.0.0.1
port: 4222
tls {{ cert_file: /etc/nats/server.pem, key_file: /etc/nats/server.key, ca_file: /etc/nats/ca.pem, verify: true }}
{operator}
"""


class Credentials(world.Case):
    files = {
        "/etc/compozy/dispatcherd.conf": SHORT_NAMES,
        "/etc/compozy/runtimed-a.conf": SHORT_NAMES,
        "/etc/compozy/agents.d/greeter.json": {"agent_id": "greeter", "agent_type": "echo"},
    }

    @classmethod
    def set_up_box(cls):
        cls.directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.directory.cleanup)
        certificates = test_auth.Certificates(cls.directory.name)
        operator = nkeys.Operator()
        cls.user = operator.user("test")
        cls.certificate = certificates.make("caller")
        cls.box.put("/etc/nats-server.conf", SERVER.format(operator=operator.server_configuration()))
        cls.box.copy_in(certificates.ca, "/etc/nats/ca.pem", 0o644)
        for source, name in zip(certificates.make("server"), ("server.pem", "server.key")):
            cls.box.copy_in(source, "/etc/nats/" + name, 0o644)
        for service in ("compozy-dispatcherd", "compozy-runtimed@a"):
            store = f"/etc/credstore/{service}.nats."
            cls.box.put(store + "credentials", nkeys.credentials(*operator.user(service)), 0o600)
            cls.box.copy_in(certificates.ca, store + "ca", 0o600)
            for source, name in zip(certificates.make(service.replace("@", "-")), ("cert", "key")):
                cls.box.copy_in(source, store + name, 0o600)
        cls.start("nats-server", "compozy-dispatcherd", "compozy-runtimed@a")

    def client(self):
        with self.box.network():
            client = natsclient.Client(world.URL, seed=self.user[1], jwt=self.user[0], tls=test_auth.lenient(self.certificate))
        self.addCleanup(client.close)
        return client

    def test_files_for_root_alone_open_the_way_to_a_server_that_trusts_nobody(self):
        self.assertEqual(self.output_of(self.trigger("greeter", "in")), "in")

    def test_a_reload_finds_them_too(self):
        self.box.run("systemctl", "reload", "compozy-dispatcherd", "compozy-runtimed@a")

    def test_one_that_is_encrypted_for_this_machine_takes_a_drop_in(self):
        self.box.run("systemctl", "stop", "compozy-runtimed@a")
        self.box.shell("mkdir -p /etc/credstore.encrypted && systemd-creds encrypt --with-key=host --name=nats.key"
                       " '/etc/credstore/compozy-runtimed@a.nats.key' /etc/credstore.encrypted/a.key && rm '/etc/credstore/compozy-runtimed@a.nats.key'")
        self.box.put("/etc/systemd/system/compozy-runtimed@a.service.d/key.conf",
                     "[Service]\nLoadCredentialEncrypted=nats.key:/etc/credstore.encrypted/a.key\n")
        self.box.run("systemctl", "daemon-reload")
        self.start("compozy-runtimed@a")
        self.assertEqual(self.output_of(self.trigger("greeter", "again")), "again")

    def test_one_that_is_missing_is_named(self):
        self.box.run("mv", "/etc/credstore/compozy-dispatcherd.nats.key", "/root/")
        self.box.run("systemctl", "stop", "compozy-dispatcherd")
        self.box.run("systemctl", "start", "--no-block", "compozy-dispatcherd")
        world.wait_until("the journal names it", lambda: [entry for entry in self.journal("-u", "compozy-dispatcherd") if
                                                          "/run/credentials/compozy-dispatcherd.service/nats.key: No such file" in entry["MESSAGE"]])
        self.box.run("mv", "/root/compozy-dispatcherd.nats.key", "/etc/credstore/")
        self.wait_show("compozy-dispatcherd", "ActiveState", "active")
