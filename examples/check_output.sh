#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# check_output.sh EXPECTED PROGRAM...: the program exits 0 and prints exactly what the file holds, but
# for times ("in 1.3ms"), which are replaced by TIME.
set -eu
expected=$1
shift
actual=$(timeout 25 "$@")
printf '%s\n' "$actual" | sed -E 's/ in [0-9.]+(ns|us|ms|s)/ in TIME/' | diff -u "$expected" -
