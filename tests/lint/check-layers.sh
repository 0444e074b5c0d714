#!/bin/sh
# SPDX-License-Identifier: MIT
# Refuses an include that points up: proto <- common <- {dispatcherd, runtimed, ctl}; these never include each other.
set -eu
cd "$(dirname "$0")/../.."

refuse() { # LAYER PATTERN-OF-FORBIDDEN-INCLUDES
        if grep -nE "^#include \"($2)/" "$1"/*.[ch]; then
                echo "check-layers: $1/ may not include the above" >&2
                exit 1
        fi
}

refuse proto 'common|dispatcherd|runtimed|ctl|tests'
refuse common 'dispatcherd|runtimed|ctl|tests'
refuse dispatcherd 'runtimed|ctl|tests'
refuse runtimed 'dispatcherd|ctl|tests'
refuse ctl 'dispatcherd|runtimed|tests'

# Deciding is pure: no NATS, libevent, clock or sleep in the cores.
pure="proto/*.c dispatcherd/*.c runtimed/*.c"
for file in $pure; do
        case $file in */main.c | runtimed/exec_host.c | runtimed/pool.c | runtimed/run.c | runtimed/store.c | */settings.c) continue ;; esac
        if grep -nE '#include <(nats|event2|systemd)/|clock_gettime|gettimeofday|instant_now|[^_a-z]sleep\(|[^_a-z]time\(' "$file"; then
                echo "check-layers: $file decides, so it may not do the above" >&2
                exit 1
        fi
done
echo "check-layers: ok"
