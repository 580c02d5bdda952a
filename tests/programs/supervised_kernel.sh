#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Linux's own VFIO tests once more, linked statically: their harness makes children by clone3 and waits for them by pidfd.
# The driver's test, which copies for minutes here, is left out. Exits with 77 if the tests cannot be had.
here=$(dirname "${BASH_SOURCE[0]}")
. "$here/common.sh"

folder=$("$here/kernel/build-selftests.sh") || {
  echo "Linux's VFIO tests cannot be had here: skipped"
  exit 77
}
mapfile -t library < <(find "$folder/objects" -name '*.o' ! -name '*_test.o' ! -name 'iommufd*.o' | sort)
for program in vfio_pci_device_test vfio_iommufd_setup_test vfio_dma_mapping_test vfio_dma_mapping_mmio_test \
  vfio_pci_device_init_perf_test; do
  gcc -static -o "$WORK/$program" "$folder/objects/$program.o" "${library[@]}" -luuid
  timeout 120 "$SOFTIOMMU" run -- "$WORK/$program" 0000:00:04.0 >"$WORK/log" 2>&1 || true
  kernel_judge "$program"
  echo "$program: $(sed -n 's/^# Totals: //p' "$WORK/log")"
done
