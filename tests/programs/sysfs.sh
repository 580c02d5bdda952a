#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Files of sysfs that programs write: drivers bound and unbound, virtual functions, devices removed, found and pulled out
# while a program uses them. usage: sysfs.sh root|user redirect|namespace|container
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cp "$(dirname "${BASH_SOURCE[0]}")/sysfs_steps.sh" "$PROGRAMS/hotplug" "$WORK/"
chmod 755 "$WORK/sysfs_steps.sh" "$WORK/hotplug"
for machine in sr-iov groups; do
  status=0
  on_machine $machine "$1" "$2" bash "$WORK/sysfs_steps.sh" "$WORK" $machine || status=$?
  cat "$WORK/log"
  [ $status -eq 0 ] || fail "the steps on $machine ended with $status"
  expect 'all steps' "$WORK/log"
done
