#!/bin/sh
# SPDX-License-Identifier: MIT
# Builds the packages of this tree, as it is, in build/deb; the argument is another version than debian/changelog's.
# lintian has the last word: its errors and warnings fail the build.
set -eu
cd "$(dirname "$0")/.."

version=${1:-$(dpkg-parsechangelog -l debian/changelog -S Version)}
place=build/deb
rm -rf $place/tree
mkdir -p $place/tree
git ls-files -z --cached --others --exclude-standard | tar --null -c -T - 2>/dev/null | tar -x -C $place/tree
sed -i "1s/(.*)/($version)/" $place/tree/debian/changelog

echo "Building compozy $version, see $place/build.log"
if ! (cd $place/tree && DEB_BUILD_OPTIONS="parallel=$(nproc) noautodbgsym" dpkg-buildpackage -us -uc -b) >$place/build.log 2>&1; then
        tail -n 40 $place/build.log >&2
        exit 1
fi
rm -rf $place/tree
lintian --fail-on error,warning --tag-display-limit 0 --suppress-tags initial-upload-closes-no-bugs \
        "$place/compozy_${version}_$(dpkg --print-architecture).changes"
ls $place/*_"$version"_*.deb
