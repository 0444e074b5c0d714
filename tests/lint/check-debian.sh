#!/bin/bash
# SPDX-License-Identifier: MIT
# usage: check-debian.sh PACKAGE...
# What `make deps` installs to build with, debian/control must name, but for what only tests need; and both versions are one.
set -euo pipefail
cd "$(dirname "$0")/../.."

for package in "$@"; do
        case $package in
        libc6-dev | libcmocka-dev | libbsd-dev) continue ;; # always there; for tests
        *-dev) ;;
        *) continue ;;
        esac
        if ! grep -q "^ *$package,\?$" debian/control; then
                echo "check-debian: debian/control does not build-depend on $package" >&2
                exit 1
        fi
done

ours=$(sed -n 's/^#define COMPOZY_VERSION "\(.*\)"$/\1/p' common/daemon.h)
theirs=$(sed -n '1s/.*(\(.*\)).*/\1/p' debian/changelog)
if [ "$ours" != "$theirs" ]; then
        echo "check-debian: common/daemon.h says version $ours, debian/changelog $theirs" >&2
        exit 1
fi
echo "check-debian: ok"
