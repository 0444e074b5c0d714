#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: unpack-tool.sh PACKAGE PROGRAM...
# Unpacks a Debian package below build/tools/ unless its programs are installed: for tests that need a program, and not
# the service that comes with it and would be started. A program may have a package of its own, of its name, in some releases.
# Says so, and goes on, when it can't be had.
set -eu
package=$1
shift
cd "$(dirname "$0")/.."

place=build/tools/$package
mkdir -p build/tools

unpack() {
        echo "Unpacking $1 into build/tools/"
        (cd build/tools && apt-get download -q "$1" && dpkg-deb -x "$1"_*.deb "$package" && rm -f "$1"_*.deb) >>"$place.log" 2>&1
}

lacks() {
        ! command -v "$1" >/dev/null && ! [ -x "$place/usr/bin/$1" ]
}

rm -f "$place.log"
for program in "$@"; do
        if lacks "$program" && ! [ -d "$place" ]; then
                unpack "$package" || :
        fi
        if lacks "$program" && ! { unpack "$program" && ! lacks "$program"; }; then
                echo "It can't be had ($place.log says why): tests that need $program are skipped" >&2
        fi
done
