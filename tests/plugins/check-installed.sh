#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: check-installed.sh TEST_PROGRAM
# What `make install` gives authors of plugins is enough: the example, copied to somewhere else, builds with it and
# nothing of the source tree, and does what the test says. The header stands on its own in the languages it promises.
set -eu
tests=$(realpath "$1")
cd "$(dirname "$0")/../.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/root/opt/compozy

make --no-print-directory -s install-sdk DESTDIR="$work/root" PREFIX=/opt/compozy >"$work/log" 2>&1 ||
        { cat "$work/log" >&2; exit 1; }
cp -r "$prefix/share/doc/compozy/examples/plugin" "$work/elsewhere"
chmod 755 "$work" "$work/elsewhere"

# Away from the tree, so that a relative path into it can't be found either.
cd "$work/elsewhere"
export PKG_CONFIG_PATH="$prefix/share/pkgconfig"
env -u MAKEFLAGS -u MFLAGS -u CFLAGS -u CPPFLAGS -u LDFLAGS make -s CFLAGS='-O1 -Werror'
pkg-config --exact-version=1.0 compozy

echo '#include <compozy/behavior.h>' >header.c
cp header.c header.cc
flags=$(pkg-config --cflags compozy)
# shellcheck disable=SC2086 # the flags, and a compiler with its cache, are several words, and the compiler may be
for std in c99 c11 c17; do
        ${CC:-cc} -std=$std -pedantic -Wall -Wextra -Werror $flags -fsyntax-only header.c
done
if command -v c++ >/dev/null; then
        # shellcheck disable=SC2086
        for std in c++11 c++17; do
                c++ -std=$std -pedantic -Wall -Wextra -Werror $flags -fsyntax-only header.cc
        done
fi

"$tests" "$work/elsewhere" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
echo "check-installed: ok"
