# SPDX-License-Identifier: MIT
"""
As much of a NATS client as a runtime needs, over asyncio and nothing else: publish, subscribe, headers, reconnect. User and password, or a
token, may be in the URL. No TLS, no cluster discovery: a runtime in earnest takes the client library of its language.

All in one task: messages are handed over in the order of the wire, and what a callback publishes leaves in the order in which it was said.
"""

import asyncio
import json
from urllib.parse import unquote, urlparse

SILENCE_S = 10  # without a word from the server it is asked for one; after as much again the connection counts as dead


class Message:
    def __init__(self, subject, reply, headers, status, data):
        self.subject, self.reply, self.headers, self.status, self.data = subject, reply, headers, status, data

    def json(self):
        """Its body as an object; an empty body is an empty object. ValueError: it is none."""
        value = json.loads(self.data or b"{}")
        if not isinstance(value, dict):
            raise ValueError(f"the body is {type(value).__name__}, not an object")
        return value


class Nats:
    """`on_up`, `on_down`: functions without arguments, called when the connection stands, and when it is gone."""

    def __init__(self, url, name):
        self.url, self.name = urlparse(url if "//" in url else "//" + url), name
        self.on_up = self.on_down = lambda: None
        self.subscriptions = []  # (subject, callback); the number on the wire is the place in the list
        self.writer = None

    def subscribe(self, subject, callback):
        self.subscriptions.append((subject, callback))
        self._write(f"SUB {subject} {len(self.subscriptions) - 1}\r\n".encode())

    def publish(self, subject, payload, reply="", headers=None):
        """False: there is no connection, and it was dropped."""
        body = json.dumps(payload, separators=(",", ":")).encode()
        address = f"{subject} {reply}".strip()
        if not headers:
            return self._write(f"PUB {address} {len(body)}\r\n".encode() + body + b"\r\n")
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"NATS/1.0\r\n{head}\r\n".encode()
        return self._write(f"HPUB {address} {len(head)} {len(head) + len(body)}\r\n".encode() + head + body + b"\r\n")

    async def run(self):
        """Keeps a connection until it is cancelled."""
        pause = 0.05
        while True:
            try:
                reader, writer = await asyncio.open_connection(self.url.hostname, self.url.port or 4222)
            except OSError:
                await asyncio.sleep(pause)
                pause = min(pause * 2, 2.0)
                continue
            pause = 0.05
            try:
                await self._serve(reader, writer)
            except (OSError, EOFError, ValueError) as error:
                print(f"connection to NATS lost: {error or type(error).__name__}", flush=True)
            finally:
                if self.writer:
                    self.writer = None
                    self.on_down()
                writer.close()
            await asyncio.sleep(pause)

    async def flush(self):
        """Ends when everything that was published is with the server."""
        if self.writer:
            self.pong = asyncio.get_running_loop().create_future()
            self._write(b"PING\r\n")
            await asyncio.wait([self.pong], timeout=2)

    def _write(self, data):
        if not self.writer:
            return False
        self.writer.write(data)
        return True

    async def _serve(self, reader, writer):
        info = json.loads((await reader.readline()).partition(b" ")[2] or b"{}")
        options = {"verbose": False, "pedantic": False, "lang": "python", "version": "0", "name": self.name, "protocol": 1,
                   "headers": True, "no_responders": True, "echo": True}
        if self.url.password:
            options.update(user=unquote(self.url.username), **{"pass": unquote(self.url.password)})
        elif self.url.username:
            options["auth_token"] = unquote(self.url.username)
        elif info.get("auth_required"):
            print("the server wants a user or a token in the URL", flush=True)
        writer.write(b"CONNECT " + json.dumps(options).encode() + b"\r\n")
        for number, (subject, _) in enumerate(self.subscriptions):
            writer.write(f"SUB {subject} {number}\r\n".encode())
        writer.write(b"PING\r\n")  # its answer says that all of the above was accepted
        self.pong = None
        n_silences = 0
        while True:
            try:
                async with asyncio.timeout(SILENCE_S):
                    line = await reader.readline()
            except TimeoutError:
                n_silences += 1
                if n_silences > 1:
                    raise EOFError("the server is silent") from None
                writer.write(b"PING\r\n")
                continue
            n_silences = 0
            if not line:
                raise EOFError("closed by the server")
            verb, *words = line.decode().split()
            if verb in ("MSG", "HMSG"):
                await self._take(reader, words, has_headers=verb == "HMSG")
            elif verb == "PING":
                writer.write(b"PONG\r\n")
            elif verb == "PONG" and not self.writer:
                self.writer = writer
                self.on_up()
            elif verb == "PONG" and self.pong:
                self.pong.set_result(None)
            elif verb == "-ERR":
                print(f"NATS says: {' '.join(words)}", flush=True)

    async def _take(self, reader, words, has_headers):
        sizes = 2 if has_headers else 1  # subject, number, perhaps a reply subject, sizes
        data = (await reader.readexactly(int(words[-1]) + 2))[:-2]
        reply = words[2] if len(words) == 3 + sizes else ""
        headers, status = {}, ""
        if has_headers:
            first, *lines = data[:int(words[-2])].decode(errors="replace").split("\r\n")
            status = first.removeprefix("NATS/1.0").strip()
            headers = {name: value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
            data = data[int(words[-2]):]
        callback = self.subscriptions[int(words[1])][1]
        try:
            callback(Message(words[0], reply, headers, status, data))
        except (ValueError, KeyError, TypeError, AttributeError) as error:  # what others send is never our end
            print(f"dropped a message on {words[0]}: {type(error).__name__}: {error}", flush=True)
