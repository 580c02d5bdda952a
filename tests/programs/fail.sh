#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# --fail in a program: the list of points, a point by its name, and the kernel's fail-nth files.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# ends STATUS RULE SCRIPT: the script, under --fail RULE, ends like that.
ends() {
  local status=0
  "$SOFTIOMMU" run --fail "$2" -- sh -c "$3" >"$WORK/out" 2>"$WORK/err" || status=$?
  [ "$status" = "$1" ] || fail "--fail $2: status $status, not $1: $3 ($(cat "$WORK/err"))"
}

open='exec 3<>/dev/iommu'
ends 0 list "$open"
expect 'heap\.new' "$WORK/err"
ends 2 nth=1 "$open"
ends 0 point=no.such "$open"
ends 2 'point=program.desc*' "$open"

ends 0 list 'echo 100 >/proc/self/fail-nth; read -r left </proc/self/fail-nth; test "$left" -gt 80 -a "$left" -lt 100'
ends 2 list "echo 1 >/proc/self/fail-nth; $open"
ends 0 list 'echo N >/sys/kernel/debug/failslab/ignore-gfp-wait; cat /sys/kernel/debug/fail_*/verbose'
