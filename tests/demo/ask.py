#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
A few words with a running system, over NATS:

  ask.py URL trigger AGENT [INPUT]   runs an agent once; INPUT is JSON, or else taken as text
  ask.py URL verb VERB [BODY]        asks a dispatcher: list_runtimes, list_agents, explain, drain_runtime, ...
  ask.py URL control RUNTIME VERB [BODY]   asks a runtime: list_agents, get_agent, subscribe_agent, stop_agent, ...
  ask.py URL request SUBJECT [TEXT]  publishes to a topic and prints the first answer: agent.<id>.replies, or any other
  ask.py URL publish SUBJECT [TEXT]  publishes, and wants no answer
  ask.py URL watch [SUBJECT]         prints messages until Ctrl-C (all events)
"""

import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "e2e"))

import natsclient  # noqa: E402


def value_of(text):
    try:
        return json.loads(text)
    except ValueError:
        return text


def show(message):
    try:
        print(json.dumps(message.json(), indent=2, ensure_ascii=False))
    except ValueError:
        print(message.data.decode(errors="replace"))


def patiently(attempt):
    """Who types this right after starting the servers may be faster than they are."""
    deadline = time.monotonic() + 3
    while True:
        try:
            return attempt()
        except (OSError, natsclient.NoResponders):
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.05)


def watch(client, subject):
    subscription = client.subscribe(subject)
    try:
        while not client.closed:
            try:
                message = subscription.next(1.0)
            except natsclient.TimedOut:
                continue
            print(message.subject, message.data.decode(errors="replace"), flush=True)
    except KeyboardInterrupt:
        pass


def main(arguments):
    if len(arguments) < 2 or arguments[0] in ("-h", "--help"):
        print(__doc__.strip())
        return 2
    url, what, *rest = arguments
    try:
        with patiently(lambda: natsclient.Client(url, "ask")) as client:
            def ask(subject, body, timeout=5.0):
                show(patiently(lambda: client.request(subject, body, timeout)))

            if what == "trigger" and rest:
                body = {"payload": {"context": {"input": value_of(rest[1]) if len(rest) > 1 else None}}}
                ask(f"compozy.commands.agent.adhoc.trigger.{rest[0]}", body, 35)
            elif what == "verb" and rest:
                ask(f"compozy.commands.agent_dispatcher.{rest[0]}", rest[1] if len(rest) > 1 else "{}")
            elif what == "control" and len(rest) > 1:
                ask(f"compozy.runtime.{rest[0]}.control.{rest[1]}", rest[2] if len(rest) > 2 else "{}")
            elif what == "request" and rest:
                ask(rest[0], rest[1] if len(rest) > 1 else "")
            elif what == "publish" and rest:
                client.publish(rest[0], rest[1] if len(rest) > 1 else "")
                client.flush()
            elif what == "watch":
                watch(client, rest[0] if rest else "compozy.events.>")
            else:
                print(__doc__.strip())
                return 2
    except BrokenPipeError:  # of a pager or head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (natsclient.NatsError, OSError) as error:
        print(f"{url}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
