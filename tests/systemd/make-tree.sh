#!/bin/bash
# SPDX-License-Identifier: MIT
# usage: make-tree.sh SUITE DIR [LAYER]
# Makes the tree of a small Debian with systemd and what the programs need in DIR/base, and once it is there does nothing. LAYER
# "build" adds DIR/build, what has to lie over base (an overlay) to compile there. As root.
set -euo pipefail
suite=$1 layer=${3:-base}
mkdir -p "$2"
dir=$(cd "$2" && pwd)
key=$(sha256sum <"$0") # made another way, it is made again
cache=$(dirname "$dir")/packages-$suite

# The names of libraries end in what changed last in them.
case $suite in
bookworm) libraries="libnats3.4 libevent-2.1-7 libjansson4 libncursesw6 libcurl4 libsystemd0 libsqlite3-0" ;;
*) libraries="libnats3.10 libevent-2.1-7t64 libjansson4 libncursesw6 libcurl4t64 libsystemd0 libsqlite3-0" ;;
esac
# jq and python3: what agents of the tests are written in
packages="systemd systemd-sysv dbus ca-certificates curl jq python3-minimal nats-server $libraries"
# What `make deps` installs, but for what only lints and tests want
# shellcheck disable=SC2016 # make's own
tools=$(make -s -C "$(dirname "$0")/../.." --eval 'packages-to-build:;@echo $(filter-out libcmocka-dev shellcheck nats-server python3-%,$(PACKAGES))' packages-to-build)
[ -n "$tools" ]

# Where this machine gets its own packages is where the tree gets them. (No answer: debootstrap's default.)
# shellcheck disable=SC2016 # apt's own
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | grep -m 1 '/debian/$') || true
eval "$(apt-config shell http_proxy Acquire::http::Proxy https_proxy Acquire::https::Proxy)"
export http_proxy="${http_proxy:-}" https_proxy="${https_proxy:-}"
[ -n "$http_proxy" ] || unset http_proxy
[ -n "$https_proxy" ] || unset https_proxy

log=$dir/log
mkdir -p "$cache"
fail() {
        tail -n 20 "$log" >&2
        echo "make-tree: $1 (all of it: $log)" >&2
        exit 1
}

make_base() {
        local new=$dir/base.new

        rm -rf "$new" "$dir/build" "$dir/build.new"
        # shellcheck disable=SC2086 # no mirror, no argument
        debootstrap --variant=minbase --cache-dir="$cache" --include="${packages// /,}" "$suite" "$new" $mirror >"$log" 2>&1 ||
                fail "debootstrap failed"
        # Each copy gets an id of its own when it boots; and no time-outs for a name server that is not there.
        : >"$new/etc/machine-id"
        rm -f "$new/var/lib/dbus/machine-id" "$new/etc/resolv.conf" "$new/etc/hostname"
        rm -rf "$new"/var/cache/apt/archives/*.deb
        # What Debian's package starts is not the server that the tests want.
        systemctl --root="$new" --quiet disable nats-server.service
        rm -rf "$dir/base"
        mv "$new" "$dir/base"
        echo "$key" >"$dir/base.made"
}

in_build() {
        chroot "$dir/mnt" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
                ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} "$@"
}

make_build() {
        local failed=

        rm -rf "$dir/build" "$dir/build.new" "$dir/work"
        mkdir -p "$dir/build.new" "$dir/work" "$dir/mnt"
        mount -t overlay overlay -o "lowerdir=$dir/base,upperdir=$dir/build.new,workdir=$dir/work" "$dir/mnt"
        trap 'umount "$dir/mnt"' EXIT
        mkdir -p "$dir/mnt/var/cache/apt/archives"
        cp /etc/resolv.conf "$dir/mnt/etc/resolv.conf"
        ln "$cache"/*.deb "$dir/mnt/var/cache/apt/archives/" 2>/dev/null || true
        # shellcheck disable=SC2086 # a list of words
        in_build sh -c "apt-get update -q && apt-get install -y -q --no-install-recommends $tools" >"$log" 2>&1 </dev/null || failed=1
        umount "$dir/mnt"
        trap - EXIT
        [ -z "$failed" ] || fail "the compiler could not be installed"
        rm -rf "$dir/work" "$dir"/build.new/var/cache/apt/archives/*.deb
        mv "$dir/build.new" "$dir/build"
        echo "$key $tools" >"$dir/build.made"
}

exec 9>"$dir/lock"
flock 9
if [ "$(cat "$dir/base.made" 2>/dev/null)" != "$key" ]; then
        echo "Making a tree of Debian $suite (once; some minutes)"
        make_base
fi
if [ "$layer" = build ] && [ "$(cat "$dir/build.made" 2>/dev/null)" != "$key $tools" ]; then
        echo "Installing a compiler into it (once)"
        make_build
fi
