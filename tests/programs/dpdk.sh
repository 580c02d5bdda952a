#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# DPDK's own DMA tests, unmodified. usage: dpdk.sh MACHINE|default BDF root|user redirect|namespace|container
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
machine=$1 bdf=$2 who=$3 view=$4

status=0
on_machine "$machine" "$who" "$view" dpdk-test "${DPDK_ARGS[@]}" -a "$bdf" <<<$'dmadev_autotest\nquit' || status=$?
expect 'Test OK' "$WORK/log"
expect "$bdf" "$WORK/log"
if grep -q 'Test Failed' "$WORK/log"; then fail "a test failed"; fi
[ $status -eq 0 ] || { tail -n 40 "$WORK/log"; fail "dpdk-test ended with $status"; }
