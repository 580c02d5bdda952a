#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# lspci, unmodified, lists the machine's devices with their driver. usage: lspci.sh redirect|namespace
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

"$SOFTIOMMU" run --view "$1" -- lspci -nnkD >"$WORK/log"
expect '^0000:00:04.0 .*\[8086:2021\]' "$WORK/log"
expect '^0000:00:05.0 .*\[8086:0b00\]' "$WORK/log"
expect '^0000:00:06.0 .*\[1234:11e8\]' "$WORK/log"
expect '^0000:01:00.0 .*\[1234:11e8\]' "$WORK/log"
[ "$(grep -c 'Kernel driver in use: vfio-pci' "$WORK/log")" -ge 4 ] || fail "not every device has its driver"
"$SOFTIOMMU" run --view "$1" -- lspci -vvv -s 0000:00:04.0 >"$WORK/verbose"
expect 'MSI-X: Enable- Count=' "$WORK/verbose"
expect 'IOMMU group' "$WORK/verbose"
