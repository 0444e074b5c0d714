#!/bin/sh
# SPDX-License-Identifier: MIT
#
# An agent in shell and jq: publishes each message that it gets to the topic "routed.<kind>", where <kind> is the member "kind" of
# the message, or "other". docs/exec.md explains the protocol.
#
# jq reads one object per line and writes one per line: that is all that the protocol asks for. --unbuffered is needed, or
# answers would wait in jq until there are 4 KiB of them. When stdin ends, so does jq.
set -eu

exec jq --unbuffered --compact-output '
        def answer(result): {jsonrpc: "2.0", id, result: result};
        def kind: if type == "object" and (.kind | type) == "string" then .kind else "other" end
                | gsub("[^A-Za-z0-9_-]"; "_");

        if .method == "handle" then
                ("routed." + (.params.input | kind)) as $topic
                | {jsonrpc: "2.0", method: "publish",
                   params: {topic: $topic, payload: .params.input, message_id: .params.message_id}},
                  answer({output: {routed_to: $topic}})
        elif .method == "checkpoint" then
                {jsonrpc: "2.0", id, error: {code: -32601, message: "keeps no state"}}
        elif .method then
                answer({})
        else
                empty
        end'
