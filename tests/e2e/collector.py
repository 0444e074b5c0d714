# SPDX-License-Identifier: MIT
"""
A collector of spans, as far as OTLP/HTTP with JSON goes: POST /v1/traces. It checks what it gets as it gets it and keeps all spans. It behaves as
`mode` says: "ok", a status as a number, "hang" (reads and never answers), "garbage" (answers what is no HTTP), "rejects" (a partial success).
"""

import http.server
import json
import re
import secrets
import threading

from harness import Port, wait_until

HEX = {"traceId": 32, "spanId": 16, "parentSpanId": 16}
VALUES = {"stringValue": str, "intValue": str}


def attributes_of(record):
    """{key: value} of a list of attributes, whose shape is checked on the way."""
    found = {}
    for one in record.get("attributes", []):
        assert set(one) == {"key", "value"} and len(one["value"]) == 1, one
        kind, value = next(iter(one["value"].items()))
        assert isinstance(value, VALUES[kind]), one
        assert one["key"] not in found, f"{one['key']} is there twice"
        found[one["key"]] = int(value) if kind == "intValue" else value
    return found


class Span:
    """One span, checked."""

    def __init__(self, record, resource):
        for key, size in HEX.items():
            assert key == "parentSpanId" and key not in record or re.fullmatch(f"[0-9a-f]{{{size}}}", record[key]), record
        for key in ("startTimeUnixNano", "endTimeUnixNano"):
            assert isinstance(record[key], str) and re.fullmatch(r"\d{19}", record[key]), record
        assert record["kind"] in (1, 2, 3, 4, 5), record
        assert record["name"], record
        self.trace, self.id, self.parent = record["traceId"], record["spanId"], record.get("parentSpanId")
        self.name, self.kind, self.flags, self.state = record["name"], record["kind"], record["flags"], record.get("traceState")
        self.start, self.end = int(record["startTimeUnixNano"]), int(record["endTimeUnixNano"])
        assert self.end >= self.start, record
        self.attributes = attributes_of(record)
        self.events = [(event["name"], int(event["timeUnixNano"]), attributes_of(event)) for event in record.get("events", [])]
        self.status = record.get("status", {})
        assert self.status.get("code", 2) == 2, record
        self.resource = resource

    @property
    def service(self):
        return self.resource["service.name"]

    def __repr__(self):
        return f"<{self.service.rpartition('-')[2]}: {self.name} {self.id} in {self.parent}>"


class Collector:
    def __init__(self, held=None, tls=None):
        self.held = held or Port()
        self.mode, self.retry_after = "ok", None
        self.spans, self.requests, self.troubles = [], [], []
        self.released = threading.Event()
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.take(self, body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.held.number), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # a client that hung up is none of ours
        self.server.block_on_close = False
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.held.number}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self):
        """Nobody listens there any more."""
        self.released.set()
        self.server.shutdown()
        self.server.server_close()

    def take(self, handler, body):
        mode = self.mode
        self.requests.append((mode, handler.path, dict(handler.headers), len(body)))
        if mode == "hang":
            self.released.wait(60)
            handler.close_connection = True
            return
        if mode == "garbage":
            handler.wfile.write(b"\x00\xff this is no HTTP \r\n\r\n" * 100)
            handler.close_connection = True
            return
        if isinstance(mode, int):
            return self.answer(handler, mode, b'{"code":14,"message":"secret-of-the-collector"}')
        try:
            n = self.read(body)
        except Exception as error:  # what we were sent is wrong: the test is to know
            self.troubles.append(f"{error!r} in {body[:500]!r}")
            return self.answer(handler, 400, b"{}")
        if mode == "rejects":
            return self.answer(handler, 200, json.dumps({"partialSuccess": {"rejectedSpans": str(n), "errorMessage": "no"}}).encode())
        return self.answer(handler, 200, b"{}")

    def answer(self, handler, status, body):
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        if self.retry_after is not None:
            handler.send_header("Retry-After", str(self.retry_after))
        handler.end_headers()
        handler.wfile.write(body)

    def read(self, body):
        found = []
        (group,) = json.loads(body)["resourceSpans"]
        resource = attributes_of(group["resource"])
        assert resource["service.name"] in ("compozy-dispatcher", "compozy-runtime"), resource
        assert resource["service.instance.id"] and resource["service.version"] and resource["host.name"], resource
        (scope,) = group["scopeSpans"]
        assert scope["scope"]["name"], scope
        for record in scope["spans"]:
            found.append(Span(record, resource))
        self.spans += found
        return len(found)

    def of_trace(self, trace):
        return [span for span in list(self.spans) if span.trace == trace]

    def wait(self, trace, names, timeout=8.0):
        """The spans of that trace by "service: name", once all of those names are there."""

        def there():
            assert not self.troubles, self.troubles
            found = {f"{span.service.rpartition('-')[2]}: {span.name}": span for span in self.of_trace(trace)}
            return found if set(names) <= set(found) else None

        try:
            return wait_until(f"the spans {names} of {trace}", there, timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}; there are {self.of_trace(trace)}") from None

    def wait_requests(self, mode, n=1, timeout=8.0):
        wait_until(f"{n} requests in mode {mode}", lambda: sum(one[0] == mode for one in list(self.requests)) >= n, timeout)


def new_trace(flags="01"):
    """(traceparent, its trace id, its span id)"""
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    return f"00-{trace}-{span}-{flags}", trace, span
