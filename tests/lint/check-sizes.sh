#!/bin/sh
# SPDX-License-Identifier: MIT
# No source file of the product over 1,000 lines, no header over 250; nothing unfinished by its own words.
set -eu
cd "$(dirname "$0")/../.."

status=0
for file in proto/*.[ch] common/*.[ch] dispatcherd/*.[ch] runtimed/*.[ch] ctl/*.[ch]; do
        n=$(wc -l <"$file")
        case $file in *.h) max=250 ;; *) max=1000 ;; esac
        if [ "$n" -gt "$max" ]; then
                echo "check-sizes: $file has $n lines, the limit is $max" >&2
                status=1
        fi
done
if grep -nE '\b(TODO|FIXME|XXX|HACK)\b' proto/*.[ch] common/*.[ch] dispatcherd/*.[ch] runtimed/*.[ch] ctl/*.[ch]; then
        echo "check-sizes: unfinished by its own words" >&2
        status=1
fi
[ $status -ne 0 ] || echo "check-sizes: ok"
exit $status
