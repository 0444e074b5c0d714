#!/bin/sh
# SPDX-License-Identifier: MIT
# Each MESSAGE_ID in what the daemons log (diag*.c) has a paragraph in systemd/compozy.catalog, and the other way round.
set -eu
cd "$(dirname "$0")/../.."

code=$(grep -hoE '"[0-9a-f]{32}"' dispatcherd/diag.c runtimed/diag*.c | tr -d '"' | sort)
catalog=$(sed -n 's/^-- \([0-9a-f]\{32\}\)$/\1/p' systemd/compozy.catalog | sort)
if [ "$(echo "$code" | uniq -d)" ]; then
        echo "check-catalog: two messages share an id:" "$(echo "$code" | uniq -d)" >&2
        exit 1
fi
if [ "$code" != "$catalog" ]; then
        echo "check-catalog: ids in diag*.c (first) and in systemd/compozy.catalog (second) differ:" >&2
        printf '%s\n' "$code" "$catalog" | sort | uniq -u >&2
        exit 1
fi
echo "check-catalog: ok"
