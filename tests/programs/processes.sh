#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# One device's descriptors in several processes. usage: processes.sh BDF root|user redirect|namespace|container
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
bdf=$1 who=$2 view=$3

status=0
cp "$PROGRAMS/processes" "$WORK/processes"
chmod 755 "$WORK/processes"
on_machine default "$who" "$view" "$WORK/processes" "$bdf" || status=$?
cat "$WORK/log"
[ $status -eq 0 ] || fail "processes ended with $status"

# Who served on for others ends with the last descriptor, and so does the run.
left() { pgrep -f "^$WORK/" || true; }
for ((tries = 0; tries < 200; tries++)); do
  [ -n "$(left)" ] || exit 0
  sleep 0.1
done
fail "processes of the run are left: $(left | tr '\n' ' ')"
