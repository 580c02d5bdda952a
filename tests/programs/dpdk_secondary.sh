#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# DPDK's DMA tests in a secondary process, which gets container and group from the primary one over DPDK's own socket.
# usage: dpdk_secondary.sh BDF. Their memory is huge pages, which only root can make: otherwise skipped (77).
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
export BDF=$1 WORK

pages=/sys/kernel/mm/hugepages/hugepages-2048kB
[ -w $pages/nr_hugepages ] || skip "huge pages cannot be made"
had=$(<$pages/nr_hugepages)
mkdir "$WORK/huge"
give_back() {
  umount "$WORK/huge" 2>/dev/null || true
  echo "$had" >$pages/nr_hugepages
  rm -rf "$WORK" "/var/run/dpdk/softiommu-$$"
}
trap give_back EXIT
[ "$(<$pages/free_hugepages)" -ge 64 ] || echo $((had + 64)) >$pages/nr_hugepages
[ "$(<$pages/free_hugepages)" -ge 64 ] || skip "there is no memory for 64 huge pages"
mount -t hugetlbfs none "$WORK/huge" 2>/dev/null || skip "huge pages cannot be mounted"

export ARGS="--iova-mode=va --no-telemetry --file-prefix=softiommu-$$ --huge-dir $WORK/huge -l 0 -a $BDF"
status=0
# shellcheck disable=SC2016
timeout 120 "$SOFTIOMMU" run -- bash -c '
  mkfifo "$WORK/in" && exec 3<>"$WORK/in"
  dpdk-test $ARGS -m 64 --proc-type=primary <"$WORK/in" >"$WORK/primary" 2>&1 &
  for ((tries = 0; tries < 300; tries++)); do
    grep -q "RTE>>" "$WORK/primary" 2>/dev/null && break
    sleep 0.1
  done
  printf "dmadev_autotest\nquit\n" | dpdk-test $ARGS --proc-type=secondary >"$WORK/log" 2>&1 || exit 1
  echo quit >&3
  wait %1' || status=$?
[ $status -eq 0 ] || { tail -n 20 "$WORK/primary" "$WORK/log" >&2 && fail "ended with $status"; }
expect 'Test OK' "$WORK/log"
expect "Test dmadev instance 0 .$BDF" "$WORK/log"
if grep -q 'Test Failed' "$WORK/log"; then fail "a test failed"; fi
