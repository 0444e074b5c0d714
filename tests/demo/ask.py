#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
A few words with a running system, over NATS:

  ask.py URL trigger AGENT [INPUT]   runs an agent once; INPUT is JSON, or else taken as text
  ask.py URL verb VERB [BODY]        asks a dispatcher: list_runtimes, list_agents, explain, drain_runtime, ...
  ask.py URL control RUNTIME VERB [BODY]
  ask.py URL watch [SUBJECT]         prints messages until Ctrl-C (all events)
"""

import json
import os
import sys

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
    with natsclient.Client(url, "ask") as client:
        try:
            if what == "trigger" and rest:
                body = {"payload": {"context": {"input": value_of(rest[1]) if len(rest) > 1 else None}}}
                show(client.request(f"compozy.commands.agent.adhoc.trigger.{rest[0]}", body, 35))
            elif what == "verb" and rest:
                show(client.request(f"compozy.commands.agent_dispatcher.{rest[0]}", rest[1] if len(rest) > 1 else "{}"))
            elif what == "control" and len(rest) > 1:
                show(client.request(f"compozy.runtime.{rest[0]}.control.{rest[1]}", rest[2] if len(rest) > 2 else "{}"))
            elif what == "watch":
                watch(client, rest[0] if rest else "compozy.events.>")
            else:
                print(__doc__.strip())
                return 2
        except natsclient.NatsError as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
