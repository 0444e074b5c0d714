# SPDX-License-Identifier: MIT
"""
A small NATS client over one socket, written from the protocol's description and sharing no code with the daemons.

One thread reads; whoever publishes writes. Every wait has a bound. There is no reconnect: a connection that ended says so
(Closed), and the caller makes a new one. A callback runs on the reader thread, so it may publish but must not wait for an answer.
"""

import base64
import collections
import json
import socket
import threading
import time
import traceback
import uuid
from urllib.parse import unquote, urlparse

import nkeys


class NatsError(Exception):
    pass


class NoResponders(NatsError):
    """The server knows of nobody who listens there."""


class TimedOut(NatsError):
    pass


class Closed(NatsError):
    pass


class Message:
    __slots__ = ("subject", "reply", "headers", "status", "data", "at")

    def __init__(self, subject, reply, headers, status, data):
        self.subject, self.reply, self.headers, self.status, self.data = subject, reply, headers, status, data
        self.at = time.monotonic()

    def json(self):
        return json.loads(self.data)

    def __repr__(self):
        return f"<{self.subject} {self.data[:2000]!r}>"


class Subscription:
    """Messages in the order of their arrival, either handed to `callback` or kept for next()."""

    def __init__(self, client, sid, subject, callback):
        self.client, self.sid, self.subject, self.callback = client, sid, subject, callback
        self._kept = collections.deque()
        self._news = threading.Condition()

    def _take(self, message):
        if self.callback:
            try:
                self.callback(message)
            except Exception:  # a test's mistake: shown, and the connection lives on
                traceback.print_exc()
            return
        with self._news:
            self._kept.append(message)
            self._news.notify_all()

    def _wake(self):
        with self._news:
            self._news.notify_all()

    def next(self, timeout):
        deadline = time.monotonic() + timeout
        with self._news:
            while not self._kept:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimedOut(f"no message on {self.subject} within {timeout:.1f} s")
                if self.client.closed:
                    raise Closed(f"the connection ended while waiting on {self.subject}")
                self._news.wait(left)
            return self._kept.popleft()

    def next_where(self, condition, timeout):
        """The first message that meets the condition; those before it are dropped."""
        deadline = time.monotonic() + timeout
        while True:
            message = self.next(max(0.0, deadline - time.monotonic()))
            if condition(message):
                return message

    def taken(self):
        """All that is there now, without waiting."""
        with self._news:
            messages = list(self._kept)
            self._kept.clear()
        return messages

    def __len__(self):
        return len(self._kept)

    def unsubscribe(self):
        self.client._unsubscribe(self)


class Client:
    """
    `seed`: of an nkey; with `jwt`: of the user it is about. `tls`: an ssl.SSLContext. `inbox`: what answers come below. User and password,
    or a token, may be in the address.
    """

    def __init__(self, url, name="e2e", timeout=5.0, seed=None, jwt=None, tls=None, inbox="_INBOX"):
        address = urlparse(url)
        self.url = url
        self.closed = False
        self.errors = []  # -ERR lines, as they came
        self.server = {}
        self._socket = socket.create_connection((address.hostname, address.port), timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = self._socket.makefile("rb", buffering=256 * 1024)
        self._write_lock = threading.Lock()
        self._lock = threading.Lock()
        self._subscriptions = {}
        self._n_sids = 0
        self._n_requests = 0
        self._waiting = {}
        self._pings = collections.deque()

        verb, _, rest = self._reader.readline().partition(b" ")
        if verb.upper() != b"INFO":
            raise NatsError(f"the server began with {verb!r}")
        self.server = json.loads(rest)
        if tls:
            self._socket = tls.wrap_socket(self._socket, server_hostname=address.hostname)
            self._reader = self._socket.makefile("rb", buffering=256 * 1024)
        options = {"verbose": False, "pedantic": False, "lang": "python", "version": "0", "protocol": 1, "name": name,
                   "headers": True, "no_responders": True, "echo": True}
        options.update(self._credentials(address, seed, jwt))
        self._write(b"CONNECT " + json.dumps(options).encode() + b"\r\nPING\r\n")
        while True:
            line = self._reader.readline().strip().upper()
            if line == b"PONG":
                break
            if not line or line.startswith(b"-ERR"):
                raise NatsError(f"the server refused us: {line!r}")
        self._socket.settimeout(None)
        self.inbox = f"{inbox}.{uuid.uuid4().hex}"
        self._thread = threading.Thread(target=self._read, name="nats", daemon=True)
        self._thread.start()
        self.subscribe(self.inbox + ".*", self._on_answer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _credentials(self, address, seed, jwt):
        if address.password is not None:
            return {"user": unquote(address.username), "pass": unquote(address.password)}
        if address.username:
            return {"auth_token": unquote(address.username)}
        if not seed:
            return {}
        key = nkeys.Key(seed)
        signature = base64.urlsafe_b64encode(key.sign(self.server.get("nonce", "").encode())).decode().rstrip("=")
        return {"jwt": jwt, "sig": signature} if jwt else {"nkey": key.public, "sig": signature}

    # what we say

    def _write(self, data):
        with self._write_lock:
            try:
                self._socket.sendall(data)
            except OSError as error:
                raise Closed(f"writing failed: {error}") from error

    @staticmethod
    def _bytes(payload):
        if payload is None:
            return b""
        if isinstance(payload, (bytes, bytearray)):
            return bytes(payload)
        if isinstance(payload, str):
            return payload.encode()
        return json.dumps(payload, separators=(",", ":")).encode()

    def encode(self, subject, payload=b"", reply=None, headers=None):
        payload = self._bytes(payload)
        address = subject if reply is None else f"{subject} {reply}"
        if not headers:
            return f"PUB {address} {len(payload)}\r\n".encode() + payload + b"\r\n"
        head = ("NATS/1.0\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n").encode()
        return f"HPUB {address} {len(head)} {len(head) + len(payload)}\r\n".encode() + head + payload + b"\r\n"

    def publish(self, subject, payload=b"", reply=None, headers=None):
        """`payload`: bytes, text, or anything that JSON can say."""
        self._write(self.encode(subject, payload, reply, headers))

    def publish_many(self, encoded):
        """What encode() made, in one write."""
        self._write(b"".join(encoded))

    def subscribe(self, subject, callback=None, queue=None):
        with self._lock:
            self._n_sids += 1
            subscription = Subscription(self, self._n_sids, subject, callback)
            self._subscriptions[self._n_sids] = subscription
        group = f" {queue}" if queue else ""
        self._write(f"SUB {subject}{group} {subscription.sid}\r\n".encode())
        return subscription

    def _unsubscribe(self, subscription):
        with self._lock:
            self._subscriptions.pop(subscription.sid, None)
        if not self.closed:
            self._write(f"UNSUB {subscription.sid}\r\n".encode())

    def flush(self, timeout=5.0):
        """The server has seen everything that we wrote."""
        done = threading.Event()
        with self._write_lock:
            self._pings.append(done)
            try:
                self._socket.sendall(b"PING\r\n")
            except OSError as error:
                raise Closed(f"writing failed: {error}") from error
        if not done.wait(timeout):
            raise TimedOut(f"no PONG within {timeout:.1f} s")
        if self.closed:
            raise Closed("the connection ended")

    def request(self, subject, payload=b"", timeout=5.0, headers=None):
        done = threading.Event()
        box = []
        with self._lock:
            self._n_requests += 1
            token = str(self._n_requests)
            self._waiting[token] = (done, box)
        try:
            if self.closed:
                raise Closed("the connection ended")
            self.publish(subject, payload, f"{self.inbox}.{token}", headers)
            if not done.wait(timeout):
                raise TimedOut(f"no answer from {subject} within {timeout:.1f} s")
        finally:
            with self._lock:
                self._waiting.pop(token, None)
        if not box:
            raise Closed(f"the connection ended while waiting for an answer from {subject}")
        if box[0].status == 503 and not box[0].data:
            raise NoResponders(f"nobody listens on {subject}")
        return box[0]

    def request_many(self, subject, payload=b"", window=0.5, enough=None):
        """All answers that arrive within `window` seconds, or until there are `enough`."""
        inbox = f"{self.inbox}.many.{uuid.uuid4().hex}"
        subscription = self.subscribe(inbox)
        deadline = time.monotonic() + window
        answers = []
        try:
            self.publish(subject, payload, inbox)
            while enough is None or len(answers) < enough:
                try:
                    answers.append(subscription.next(max(0.0, deadline - time.monotonic())))
                except TimedOut:
                    break
        finally:
            subscription.unsubscribe()
        return [answer for answer in answers if answer.status != 503]

    # JetStream, by plain requests

    def js(self, api, payload=b"", timeout=5.0):
        return self.request(f"$JS.API.{api}", payload, timeout).json()

    def js_stream(self, name):
        """The stream's info, or None when there is no such stream (or no JetStream)."""
        try:
            answer = self.js(f"STREAM.INFO.{name}")
        except NoResponders:
            return None
        return None if "error" in answer else answer

    def js_last(self, stream, subject):
        """The last message's bytes on that subject, or None."""
        answer = self.js(f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject})
        if "error" in answer:
            return None
        message = answer["message"]
        headers = base64.b64decode(message.get("hdrs", "")).decode(errors="replace")
        if "KV-Operation: DEL" in headers or "KV-Operation: PURGE" in headers:
            return None
        return base64.b64decode(message.get("data", ""))

    # what we hear

    def _on_answer(self, message):
        with self._lock:
            waiting = self._waiting.pop(message.subject.rpartition(".")[2], None)
        if waiting:
            waiting[1].append(message)
            waiting[0].set()

    @staticmethod
    def _parse_headers(block):
        lines = block.decode(errors="replace").split("\r\n")
        status = lines[0][len("NATS/1.0"):].strip().split(" ")[0]
        headers = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if colon:
                headers[name] = value.strip()
        return headers, int(status) if status.isdigit() else 0

    def _read_message(self, words, has_headers):
        n_lengths = 2 if has_headers else 1
        lengths = [int(word) for word in words[-n_lengths:]]
        reply = words[3].decode() if len(words) == 4 + n_lengths else None
        body = self._reader.read(lengths[-1] + 2)[:-2]
        headers, status = {}, 0
        if has_headers:
            headers, status = self._parse_headers(body[:lengths[0]])
            body = body[lengths[0]:]
        with self._lock:
            subscription = self._subscriptions.get(int(words[2]))
        if subscription is not None:
            subscription._take(Message(words[1].decode(), reply, headers, status, body))

    def _read(self):
        try:
            while True:
                line = self._reader.readline()
                if not line:
                    break
                words = line.split()
                verb = words[0].upper() if words else b""
                if verb == b"MSG":
                    self._read_message(words, False)
                elif verb == b"HMSG":
                    self._read_message(words, True)
                elif verb == b"PING":
                    self._write(b"PONG\r\n")
                elif verb == b"PONG":
                    if self._pings:
                        self._pings.popleft().set()
                elif verb == b"-ERR":
                    self.errors.append(line.decode(errors="replace").strip())
        except (OSError, ValueError, IndexError, Closed):
            pass
        finally:
            self._end()

    def _end(self):
        self.closed = True
        with self._lock:
            waiting = list(self._waiting.values())
            subscriptions = list(self._subscriptions.values())
        for done, _ in waiting:
            done.set()
        while self._pings:
            self._pings.popleft().set()
        for subscription in subscriptions:
            subscription._wake()

    def close(self):
        self.closed = True
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        if threading.current_thread() is not self._thread:
            self._thread.join(5)
        self._socket.close()
