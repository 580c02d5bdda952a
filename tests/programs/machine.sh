#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Real clients on a machine: each edu device copies memory for the plain VFIO program, by a container and by an iommufd;
# DPDK tests one I/OAT engine behind each kind of IOMMU. A machine without PCI devices is for the library.
# usage: machine.sh MACHINE
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
machine=$MACHINES/$1.toml

"$SOFTIOMMU" show --machine "$machine" >"$WORK/show"
# devices MODEL: address and IOMMU of each. kind_of IOMMU: its model.
devices() { sed -nE "s/^ +([0-9a-f]{4}:[0-9a-f:.]+) $1 .*, behind ([^ ]+)$/\1 \2/p" "$WORK/show"; }
kind_of() { sed -nE "/^IOMMUs/,/^PCI/s/^  $1 ([a-z0-9-]+)$/\1/p" "$WORK/show"; }

run=("$SOFTIOMMU" run --machine "$machine")
if grep -q 'MSI not isolated' "$WORK/show"; then run+=(--allow-unsafe-interrupts); fi

tried=0
while read -r bdf unit; do
  for option in "" --iommufd; do
    timeout 60 "${run[@]}" --paranoid -- "$EXAMPLES/vfio_dma" ${option:+"$option"} "$bdf" >"$WORK/log" 2>&1 ||
      { cat "$WORK/log"; fail "vfio_dma $option $bdf, behind $unit"; }
    expect "$bdf copied 4096 bytes" "$WORK/log"
    if grep -q 'stale' "$WORK/log"; then cat "$WORK/log"; fail "vfio_dma $option $bdf: an invalidation is missing"; fi
    tried=$((tried + 1))
  done
done < <(devices edu)

declare -A tested=()
while read -r bdf unit; do
  kind=$(kind_of "$unit")
  [ -z "${tested[$kind]:-}" ] || continue
  tested[$kind]=$bdf
  status=0
  timeout 120 "${run[@]}" -- dpdk-test "${DPDK_ARGS[@]}" -a "$bdf" <<<$'dmadev_autotest\nquit' >"$WORK/log" 2>&1 || status=$?
  expect 'Test OK' "$WORK/log"
  if [ $status -ne 0 ] || grep -q 'Test Failed' "$WORK/log"; then
    tail -n 40 "$WORK/log"
    fail "dpdk-test on $bdf, behind $unit ($kind): $status"
  fi
  tried=$((tried + 1))
done < <(devices ioat)

if [ $tried -eq 0 ]; then
  grep -q '^Platform devices' "$WORK/show" || fail "$1 has no device that a program could use"
  echo "$1 has platform devices only"
fi
echo "$1: $tried runs; DPDK behind: ${!tested[*]}"
