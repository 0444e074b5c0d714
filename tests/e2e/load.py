# SPDX-License-Identifier: MIT
"""
Load: a stream of triggers with bounded outstanding, and the account of what became of each.

Each trigger names its own agent.exec_id and has its own reply subject, so a missing and a second answer are both seen.
"""

import collections
import threading
import time
import uuid

import natsclient
from harness import scaled

# Seconds after which a dispatcher that has not heard of a relay asks again (dispatcher.check_ms). Where nothing takes so long, the machine stood
# still, and then a runtime may say the same once more.
ASKED_AGAIN = 1.0


class Record:
    __slots__ = ("exec_id", "agent", "sent_at", "answered_at", "status", "code", "attempt", "runtime_id", "n_answers", "output", "again")

    def __init__(self, exec_id, agent):
        self.exec_id, self.agent = exec_id, agent
        self.sent_at = self.answered_at = self.status = self.code = self.runtime_id = self.output = None
        self.attempt = self.n_answers = 0
        self.again = []  # further answers: (attempt, status, runtime)

    @property
    def outcome(self):
        return self.status if self.status in (None, "SUCCESS") else f"{self.status} {self.code}"

    @property
    def seconds(self):
        return self.answered_at - self.sent_at


class Load:
    """
    `mix`: [(agent, input, weight)], the input any JSON or a function of the sequence number. `total`: stop by itself after so many.
    `rate`: at most so many a second. No answer within `deadline_ms` and `grace` more seconds counts as unanswered.
    """

    def __init__(self, client, mix, outstanding=32, total=None, retry=None, deadline_ms=10000, workflow="load", rate=None,
                 grace=scaled(2), payload=None):
        self.client, self.outstanding, self.total, self.rate = client, outstanding, total, rate
        self.deadline_ms, self.workflow, self.grace = deadline_ms, workflow, grace
        self.payload = dict(payload or {}, deadline_ms=deadline_ms)
        if retry:
            self.payload["retry"] = retry
        self.pattern = [(agent, value) for agent, value, weight in mix for _ in range(weight)]
        self.records = {}
        self.run_id = uuid.uuid4().hex[:12]
        self.inbox = f"_INBOX.load-{self.run_id}"
        self.trouble = None
        self._slots = threading.Semaphore(outstanding)
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self.n_sent = self.n_answered = 0
        self._thread = threading.Thread(target=self._issue, name="load", daemon=True)
        self.subscription = client.subscribe(self.inbox + ".*", self._on_answer)

    def start(self):
        self._thread.start()
        return self

    def _body(self, number, record):
        value = self.pattern[number % len(self.pattern)][1]
        payload = dict(self.payload, context={"input": value(number) if callable(value) else value})
        return {"agent": {"id": record.agent, "exec_id": record.exec_id}, "payload": payload}

    def _issue(self):
        started = time.monotonic()
        number = 0
        try:
            while not self._stop.is_set() and (self.total is None or number < self.total):
                if self.rate:
                    ahead = number / self.rate - (time.monotonic() - started)
                    if ahead > 0.002 and self._stop.wait(ahead):
                        break
                if not self._slots.acquire(timeout=0.2):
                    self._give_up_on_overdue()
                    continue
                agent = self.pattern[number % len(self.pattern)][0]
                record = Record(f"{self.run_id}-{number}", agent)
                record.sent_at = time.monotonic()
                self.records[record.exec_id] = record
                self.client.publish(f"compozy.commands.agent.{self.workflow}.trigger.{agent}", self._body(number, record),
                                    f"{self.inbox}.{number}")
                number += 1
                self.n_sent = number
        except natsclient.Closed as error:
            self.trouble = error

    def _give_up_on_overdue(self):
        """An unanswered trigger must not hold its slot for ever."""
        now = time.monotonic()
        for record in list(self.records.values()):
            if record.status is None and now - record.sent_at > self.deadline_ms / 1000 + self.grace:
                record.status, record.code = "UNANSWERED", ""
                self._slots.release()

    def _on_answer(self, message):
        record = self.records.get(f"{self.run_id}-{message.subject.rpartition('.')[2]}")
        if record is None:
            return
        if record.n_answers > 0:
            body = message.json() if message.data else {"payload": {}}
            again = (body["payload"].get("attempt"), body["payload"].get("status"), body.get("agent_runtime", {}).get("runtime_id"))
            if again == (record.attempt, record.status, record.runtime_id) and message.at - record.sent_at > ASKED_AGAIN:
                return
            record.n_answers += 1
            record.again.append(again)
            return
        record.n_answers += 1
        late = record.status is not None
        record.answered_at = message.at
        if message.status == 503 and not message.data:
            record.status, record.code = "NOT_TAKEN", "no dispatcher listens"
        else:
            body = message.json()
            payload = body["payload"]
            record.status, record.attempt = payload["status"], payload.get("attempt", 0)
            record.runtime_id = body.get("agent_runtime", {}).get("runtime_id")
            result = payload.get("result") or {}
            record.code = (result.get("error") or {}).get("code")
            record.output = result.get("output")
        if not late:
            self._slots.release()
        with self._changed:
            self.n_answered += 1
            self._changed.notify_all()

    def wait_answered(self, n, timeout):
        """Until n answers are in."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while self.n_answered < n:
                left = deadline - time.monotonic()
                if left <= 0 or self.trouble:
                    raise AssertionError(f"only {self.n_answered} of {self.n_sent} triggers were answered, wanted {n}"
                                         f" within {timeout:.0f} s ({self.trouble or self.counts()})")
                self._changed.wait(min(left, 0.2))

    def finish(self, stop=True, timeout=60.0):
        """Sends no more (with `stop`) and returns when everything is answered or overdue."""
        if stop:
            self._stop.set()
        self._thread.join(timeout)
        deadline = time.monotonic() + min(timeout, self.deadline_ms / 1000 + self.grace)
        with self._changed:
            while self.n_answered < self.n_sent and time.monotonic() < deadline and not self.client.closed:
                self._changed.wait(0.05)
        for record in list(self.records.values()):
            if record.status is None:
                record.status, record.code = "UNANSWERED", ""
        return self

    # the account

    def counts(self):
        return dict(collections.Counter(record.outcome for record in list(self.records.values())))

    def unanswered(self):
        return [record for record in self.records.values() if record.n_answers == 0]

    def answered_twice(self):
        return [record for record in self.records.values() if record.n_answers > 1]

    def answered_differently(self):
        """
        Those whose answers are not all the same. (A dispatcher that has no report in time asks the runtime again, which repeats what it has
        answered: so on a machine that stood still there may be two answers, of one outcome.)
        """
        return [(record.exec_id, record.attempt, record.status, record.again) for record in self.answered_twice()
                if any(again[:2] != (record.attempt, record.status) for again in record.again)]

    def answered_twice_without_need(self, killed_at, report_delay):
        """
        Those that were not about to be reported when their runtime died. (A runtime that dies between its answer and its report leaves
        the dispatcher no choice but to place the execution again, or to answer RUNTIME_LOST.)
        """
        return [(record.exec_id, record.attempt, record.again) for record in self.answered_twice()
                if record.answered_at < killed_at - report_delay]

    def failed(self):
        return [record for record in self.records.values() if record.status != "SUCCESS"]

    def placed_again(self):
        return [record for record in self.records.values() if record.attempt > 1]

    def late(self):
        return [record for record in self.records.values()
                if record.answered_at and record.seconds > self.deadline_ms / 1000 + self.grace / 2]

    def latency_ms(self, quantile, agent=None):
        times = sorted(record.seconds for record in self.records.values()
                       if record.answered_at and (agent is None or record.agent == agent))
        return 1000 * times[min(len(times) - 1, int(quantile * len(times)))] if times else float("nan")

    def by_runtime(self):
        return dict(collections.Counter(record.runtime_id for record in self.records.values()))
