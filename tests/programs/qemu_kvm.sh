#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# QEMU with KVM takes a device: the firmware assigns the BAR, QEMU puts memory slots over it and tells KVM of the group;
# nothing is refused. usage: qemu_kvm.sh BDF
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
bdf=$1
[ -w /dev/kvm ] || exit 77

mkfifo "$WORK/monitor"
timeout 100 "$SOFTIOMMU" run -- qemu-system-x86_64 -M q35 -accel kvm -m 256 -nodefaults -display none -monitor stdio \
  -device "vfio-pci,host=$bdf,id=passed" <"$WORK/monitor" >"$WORK/log" 2>&1 &
exec 3>"$WORK/monitor"
for ((tries = 0; tries < 300; tries++)); do
  echo "info pci" >&3
  sleep 0.1
  # The device's BAR has an address, and QEMU has acted on it.
  if tr -d '\r' <"$WORK/log" | grep -B1 'id "passed"' | grep -qE 'BAR0: .* at 0x[0-9a-f]{8} '; then break; fi
done
echo quit >&3
exec 3>&-
wait $! || { cat "$WORK/log" && fail "qemu ended with an error"; }
[ $tries -lt 300 ] || { tail -n 40 "$WORK/log" && fail "the firmware has not assigned the BAR"; }
if grep -E 'Failed|failed|refused' "$WORK/log"; then fail "KVM or VFIO refused something"; fi
