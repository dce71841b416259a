#!/bin/sh
# check_output.sh PROGRAM... EXPECTED: the program exits 0 and prints exactly what the file holds.
set -eu
for expected; do :; done
count=$#
set -- "$@" end
i=1
command=""
while [ "$i" -lt "$count" ]; do
  command="$command '$1'"
  shift
  i=$((i + 1))
done
printf '%s\n' "$(eval "timeout 25 $command")" | diff -u "$expected" -
