#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# gdb with the init file that comes with us: BAR accesses do not stop it, a fault of the program's own does.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
init=$(dirname "${BASH_SOURCE[0]}")/../../tools/softiommu.gdb
bdf=0000:00:06.0

# debug COMMANDS... -- PROGRAM ARGS...: their output in $WORK/log.
debug() {
  local commands=()
  while [ "$1" != -- ]; do commands+=(-ex "$1") && shift; done
  shift
  timeout -k 2 120 "$SOFTIOMMU" run -- gdb -nx --batch -iex 'set debuginfod enabled off' -x "$init" "${commands[@]}" \
    --args "$@" >"$WORK/log" 2>&1 || { cat "$WORK/log"; fail "gdb ended with $?"; }
}

debug 'break main' run 'echo in-main\n' continue 'info program' -- "$EXAMPLES/vfio_dma" $bdf
expect "^in-main" "$WORK/log"
expect "$bdf copied 4096 bytes" "$WORK/log"
expect "exited normally" "$WORK/log"
! grep -q "received signal" "$WORK/log" || { cat "$WORK/log"; fail "gdb stopped at a BAR access"; }

gcc -g -O0 -pthread -o "$WORK/planted" "$(dirname "${BASH_SOURCE[0]}")/sanitized/planted.c"
debug 'handle SIGSEGV nostop' run 'continue' -- "$WORK/planted" null $bdf
expect "a fault of the program's own" "$WORK/log"
expect "have_bug" "$WORK/log"
