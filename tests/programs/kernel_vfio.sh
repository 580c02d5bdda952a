#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Linux's own VFIO tests, unmodified, in all their IOMMU modes: type1 and type1v2 containers, both again on an iommufd, and
# an iommufd with device files. usage: kernel_vfio.sh MACHINE|default
#
# What fails must be in kernel/known-failures, and what is there must fail. Tests that skip themselves say why. Exits with
# 77 if the tests cannot be had (no kernel source package).
here=$(dirname "${BASH_SOURCE[0]}")
. "$here/common.sh"

folder=$("$here/kernel/build-selftests.sh") || {
  echo "Linux's VFIO tests cannot be had here: skipped"
  exit 77
}
options=()
[ "$1" = default ] || options+=(--machine "$MACHINES/$1.toml")

# An I/OAT engine, for which the tests have a driver; an edu device has MSI, which the engine has not.
ioat=0000:00:04.0 edu=0000:00:06.0
rows=("vfio_pci_driver_test $ioat" "vfio_pci_device_test $ioat" "vfio_pci_device_test $edu" "vfio_iommufd_setup_test $ioat"
  "vfio_dma_mapping_test $ioat" "vfio_dma_mapping_mmio_test $ioat" "vfio_pci_device_init_perf_test $ioat")
# Physical functions behind a VT-d, an SMMUv3 and an AMD IOMMU.
if [ "$1" = sr-iov ]; then
  rows=()
  for device in 0000:00:04.0 0000:00:05.0 0000:00:06.0; do rows+=("vfio_pci_sriov_uapi_test $device"); done
fi
for row in "${rows[@]}"; do
  read -r program device <<<"$row"
  timeout 240 "$SOFTIOMMU" run "${options[@]}" -- "$folder/$program" "$device" >"$WORK/log" 2>&1 || true
  kernel_judge "$program"
  mended=$(comm -12 "$WORK/passed" "$WORK/known")
  [ -z "$mended" ] || fail "no failures any more, take them out of known-failures: $mended"
  echo "$program $device: $(sed -n 's/^# Totals: //p' "$WORK/log")"
  sed -nE 's/^ok [0-9]+ (.*) # SKIP (.*)/  skipped: \1: \2/p' "$WORK/log"
done
