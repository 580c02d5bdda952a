#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Programs built with a compiler's sanitizers: no report of ours, and theirs still find what is theirs.
# usage: sanitized.sh COMPILER SANITIZER
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
compiler=$1 sanitizer=$2
bdf=0000:00:06.0 here=$(dirname "${BASH_SOURCE[0]}")

"$compiler" -g -O1 -pthread -fsanitize="$sanitizer" -o "$WORK/vfio_dma" "$here/../../examples/vfio_dma.c"
"$compiler" -g -O1 -pthread -fsanitize="$sanitizer" -fno-sanitize-recover=undefined -o "$WORK/planted" \
  "$here/sanitized/planted.c"

# run PROGRAM ARGS...: as a user would, without options of sanitizers; output in $WORK/log.
run() { env -u ASAN_OPTIONS -u TSAN_OPTIONS -u LD_PRELOAD timeout -k 2 40 "$SOFTIOMMU" run -- "$@" >"$WORK/log" 2>&1; }
clean() {
  run "$@" || { cat "$WORK/log"; fail "$(basename "$1") ended with an error"; }
  ! grep -qE "Sanitizer|runtime error|softiommu:" "$WORK/log" || { cat "$WORK/log"; fail "a report without a bug"; }
}
finds() {
  ! run "$WORK/planted" "$1" $bdf || { cat "$WORK/log"; fail "$1 was not found"; }
  expect "$2" "$WORK/log"
  ! grep -q "softiommu:" "$WORK/log" || { cat "$WORK/log"; fail "a report of ours"; }
}

clean "$WORK/vfio_dma" $bdf
clean "$WORK/vfio_dma" --iommufd $bdf
clean "$WORK/planted" none $bdf
# Children that are sanitized are found by a shell that is not, by spawn and by exec.
clean sh -c "'$WORK/planted' none $bdf && exec '$WORK/vfio_dma' $bdf"
clean python3 -c "import subprocess, sys; sys.exit(subprocess.call(['$WORK/vfio_dma', '$bdf']))"
case $sanitizer in
  address)
    finds overflow "AddressSanitizer: heap-buffer-overflow"
    finds freed "AddressSanitizer: heap-use-after-free"
    finds null "AddressSanitizer: SEGV on unknown address"
    ;;
  thread) finds race "ThreadSanitizer: data race" && finds null "ThreadSanitizer: SEGV on unknown address" ;;
  undefined) finds signed "runtime error: signed integer overflow" ;;
  memory) finds uninitialised "MemorySanitizer: use-of-uninitialized-value" && finds null "MemorySanitizer: SEGV" ;;
esac
