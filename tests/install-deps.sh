#!/bin/sh
# SPDX-License-Identifier: MIT
# Installs the Debian packages named as arguments that are not there yet. Does nothing, and says nothing, when all are.
set -eu

missing=
for package in "$@"; do
        dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null | grep -q ' ok installed$' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" -ne 0 ]; then
        as_root=sudo
fi
by_hand="As root on Debian: apt-get update && apt-get install --no-install-recommends$missing"
if ! command -v apt-get >/dev/null || ! command -v ${as_root:-env} >/dev/null; then
        echo "Packages are missing, and nothing here can install them. $by_hand" >&2
        exit 1
fi

# Waits while another apt runs, as it does soon after a machine's start.
install() {
        # shellcheck disable=SC2086 # a list of words
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 \
                install -y -q --no-install-recommends $missing </dev/null
}

echo "Installing:$missing"
# Asked for by itself, so that a password is asked for once, and what sudo has against somebody is said once.
if [ -n "$as_root" ] && ! $as_root env true; then
        echo "Packages are missing, and sudo doesn't let $(id -un) install them. $by_hand" >&2
        exit 1
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'exit 1' INT TERM
# Should it fail, the lists may be old or not there at all.
if ! install >"$log" 2>&1 && ! { $as_root apt-get update -q; install; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        echo "That failed. $by_hand" >&2
        exit 1
fi
