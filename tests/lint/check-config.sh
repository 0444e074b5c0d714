#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: check-config.sh BIN-DIR
# The sample configurations show exactly the keys that the daemons have, with their defaults, and are accepted.
set -eu
bin=$1
cd "$(dirname "$0")/../.."

for daemon in dispatcherd runtimed; do
        sample=systemd/$daemon.conf
        wanted=$("$bin/compozy-$daemon" --help | sed -n 's/^  \([a-z_]*\.[a-z_]*=[^ ]*\) .*/\1/p' | sort)
        shown=$(awk '/^\[/ { section = substr($0, 2, length($0) - 2) }
                     /^;[a-z_]+ *=/ { sub(/^;/, ""); sub(/ *= */, "="); print section "." $0 }' "$sample" | sort)
        if [ "$wanted" != "$shown" ]; then
                echo "check-config: $sample and compozy-$daemon --help differ:" >&2
                printf '%s\n' "$wanted" "$shown" | sort | uniq -u >&2
                exit 1
        fi
        sed 's/^;\([a-z_]* *=\)/\1/' "$sample" >"build/$daemon.sample.conf"
        "$bin/compozy-$daemon" -c "build/$daemon.sample.conf" --check-config >/dev/null
done
echo "check-config: ok"
