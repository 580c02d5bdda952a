#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# `--dma-sanitizer`: each bug of the client is told, with who mapped and who unmapped, and nothing else is.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
first=0000:00:06.0 second=0000:01:00.0

# run_bug STATUS OPTION BUG [BDF]: the program ends with this status; its output is in $WORK/log.
run_bug() {
  local wanted=$1 option=$2 bug=$3 status=0
  shift 3
  timeout 60 "$SOFTIOMMU" run "$option" -- "$PROGRAMS/dma_bugs" "$bug" "$first" "$@" >"$WORK/log" 2>&1 || status=$?
  [ "$status" -eq "$wanted" ] || { cat "$WORK/log"; fail "$bug ended with $status, not $wanted"; }
}

# tells BUG TEXT...: the report has these lines, and one cause.
tells() {
  local bug=$1
  shift
  run_bug 0 --dma-sanitizer "$bug"
  for text in "$@"; do expect "$text" "$WORK/log"; done
  [ "$(grep -c '^softiommu: DMA sanitizer' "$WORK/log")" -eq 1 ] || {
    cat "$WORK/log"
    fail "$bug: more than one cause"
  }
}

mapped="#0 map_buffer\+0x[0-9a-f]+ in dma_bugs\+0x"
tells use-after-unmap "use after unmap: $first writes 64 bytes at IOVA 0x101000" \
  "mapping: IOVA 0x100000 to 0x103fff \(rw\)" "mapped by:" "$mapped" "unmapped by:" "#0 unmap_buffer\+" "main\+0x" \
  "DMA findings of process" "         3 x DMA sanitizer: use after unmap"
tells never-mapped "nothing was ever mapped" "16 bytes past the end of the mapping below it" "$mapped"
tells read-only "writes 64 bytes at IOVA 0x100000, a right that its mapping lacks" "\(r\)"
tells after-munmap "use after free: $first writes 4096 bytes at IOVA 0x101000" "$mapped" "given up by:" \
  "#0 release_buffer\+"
tells after-madvise "memory that the program gave up by MADV_FREE" "$mapped"
tells after-free "in the block of [0-9]+ bytes at 0x[0-9a-f]+ that the program freed" "$mapped" "freed by:" \
  "#0 after_free\+"
tells after-move "use after free" "$mapped" "given up by:"
tells protected "is gone, protected, or past the end of its file" "$mapped"
tells truncated "writes [0-9]+ bytes at IOVA 0x101000, but the program's memory there is gone" "$mapped"

run_bug 0 --dma-sanitizer overlap "$second"
expect "two devices write the same memory" "$WORK/log"

run_bug 0 --dma-sanitizer in-turn "$second"
! grep -q "softiommu:" "$WORK/log" || { cat "$WORK/log"; fail "a program without a bug is blamed"; }

for seed in 1 2; do
  SEED=$seed ROUNDS=5000 timeout -k 2 60 "$SOFTIOMMU" run --dma-sanitizer -- "$PROGRAMS/abuse" $first \
    >"$WORK/log" 2>&1 || { tail -n 60 "$WORK/log"; fail "abuse, seed $seed"; }
  expect "transfers survived" "$WORK/log"
done

run_bug 2 --dma-sanitizer no-such-bug

run_bug 134 --dma-sanitizer=abort after-munmap
expect "use after free" "$WORK/log"
expect "DMA findings of process" "$WORK/log"
! grep -q "dma_bugs: ended" "$WORK/log" || fail "the program went on after the finding"
