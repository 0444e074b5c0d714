#!/bin/sh
# SPDX-License-Identifier: MIT
# Installs the Debian packages named as arguments that are not there yet. Does nothing, and says nothing, when all are.
set -eu

missing=
for package in "$@"; do
        status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
        [ "$status" = "install ok installed" ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
                echo "These packages are missing, and only root may install them:$missing" >&2
                exit 1
        fi
        as_root=sudo
fi

echo "Installing:$missing"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # a list of words
if ! $as_root apt-get install -y -q --no-install-recommends $missing >build-deps.log 2>&1; then
        # The lists may be old or not there at all.
        $as_root apt-get update -q >>build-deps.log 2>&1 || true
        # shellcheck disable=SC2086
        if ! $as_root apt-get install -y -q --no-install-recommends $missing >>build-deps.log 2>&1; then
                tail -n 20 build-deps.log >&2
                echo "Installing them failed; the whole of it is in build-deps.log" >&2
                exit 1
        fi
fi
rm -f build-deps.log
