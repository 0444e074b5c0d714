#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: unpack-tool.sh PACKAGE PROGRAM...
# Unpacks a Debian package below build/tools/ unless its programs are installed: for tests that need a program, and not
# the service that comes with it and would be started. Says so, and goes on, when it can't be had.
set -eu
package=$1
shift
cd "$(dirname "$0")/.."

missing=
for program in "$@"; do
        command -v "$program" >/dev/null || [ -x "build/tools/$package/usr/bin/$program" ] || missing=$program
done
[ -n "$missing" ] || exit 0

echo "Unpacking $package into build/tools/"
mkdir -p build/tools
cd build/tools
if apt-get download -q "$package" >"$package.log" 2>&1 && dpkg-deb -x "$package"_*.deb "$package"; then
        rm -f "$package"_*.deb "$package.log"
else
        echo "It can't be had (build/tools/$package.log says why): tests that need $missing are skipped" >&2
fi
