#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# DPDK's own DMA tests, unmodified. usage: dpdk.sh MACHINE|default BDF root|user redirect|namespace|container
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
machine=$1 bdf=$2 who=$3 view=$4

public_copy
options=()
[ "$machine" = default ] || options+=(--machine "$WORK/machines/$machine.toml")
prefix=()
case $view in
  container) prefix=("$WORK/container_seccomp") && options+=(--view redirect) ;;
  *) options+=(--view "$view") ;;
esac
command=("${prefix[@]}" "$WORK/softiommu" run "${options[@]}" -- dpdk-test "${DPDK_ARGS[@]}" -a "$bdf")
status=0
if [ "$who" = user ]; then
  printf 'dmadev_autotest\nquit\n' | as_user timeout 240 "${command[@]}" >"$WORK/log" 2>&1 || status=$?
else
  printf 'dmadev_autotest\nquit\n' | timeout 240 "${command[@]}" >"$WORK/log" 2>&1 || status=$?
fi
expect 'Test OK' "$WORK/log"
expect "$bdf" "$WORK/log"
if grep -q 'Test Failed' "$WORK/log"; then fail "a test failed"; fi
[ $status -eq 0 ] || { tail -n 40 "$WORK/log"; fail "dpdk-test ended with $status"; }
