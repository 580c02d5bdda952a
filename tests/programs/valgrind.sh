#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# valgrind: DMA and BAR accesses without a report, and the program's own bug is found.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
here=$(dirname "${BASH_SOURCE[0]}") bdf=0000:00:06.0

run() {
  timeout -k 2 120 "$SOFTIOMMU" run -- valgrind -q --error-exitcode=9 --leak-check=full --fair-sched=try \
    --suppressions="$here/../../tools/softiommu.supp" "$@" >"$WORK/log" 2>&1
}

run "$EXAMPLES/vfio_dma" $bdf || { cat "$WORK/log"; fail "vfio_dma ended with $?"; }
expect "$bdf copied 4096 bytes" "$WORK/log"
! grep -q "^==" "$WORK/log" || { cat "$WORK/log"; fail "a report without a bug"; }

gcc -g -O1 -pthread -o "$WORK/planted" "$here/sanitized/planted.c"
! run "$WORK/planted" overflow $bdf || { cat "$WORK/log"; fail "the overflow was not found"; }
expect "Invalid write of size 1" "$WORK/log"
expect "have_bug" "$WORK/log"
