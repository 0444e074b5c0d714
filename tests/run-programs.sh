#!/bin/bash
# SPDX-License-Identifier: MIT
# usage: run-programs.sh PROGRAM...
# Runs cmocka programs one after the other. What passes is one line; what fails is shown whole, and the others still run.
set -u

passed=0 failed=0 log=$(mktemp)
trap 'rm -f "$log"' EXIT

for program in "$@"; do
        start=${EPOCHREALTIME/[.,]/}
        timeout "${UNIT_SECONDS:-300}" "$program" >"$log" 2>&1
        status=$?
        n_ok=$(grep -c '^\[       OK \]' "$log")
        n_failed=$(grep -c '^\[  FAILED  \] [a-zA-Z0-9_]*$' "$log")
        if [ $status -ne 0 ]; then
                cat "$log"
                n_failed=$((n_failed / 2 > 0 ? n_failed / 2 : 1)) # cmocka names each twice
                echo "FAILED $program (status $status)"
        else
                n_failed=0
                printf 'ok  %4d tests  %6d ms  %s\n' "$n_ok" $(((${EPOCHREALTIME/[.,]/} - start) / 1000)) "$program"
        fi
        passed=$((passed + n_ok)) failed=$((failed + n_failed))
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
