#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A Linux guest finds the NVMe controller that QEMU passes to it, makes a file system, writes, reads back. The image on
# the host holds what the guest wrote.
# usage: qemu_guest.sh HOW root|user redirect|namespace|container
# HOW: plain, two processors and as QEMU comes; iommu, behind QEMU's own VT-d in caching mode; intx, without MSI; nommap,
# no BAR mapped into QEMU; shared, guest memory in a file; twice, the guest starts again with the disk as it left it;
# resets, the guest resets, removes and finds the controller again; amd, behind an AMD IOMMU of ours.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
how=$1 who=$2 view=$3
guest=$(dirname "${BASH_SOURCE[0]}")/guest
status=0
kernel=$("$guest/get-kernel.sh") || status=$?
[ $status -ne 3 ] || exit 77
[ $status -eq 0 ] || fail "the guest's kernel: $status"

size=$((64 << 20))
unit=intel-vtd
[ "$how" != amd ] || unit=amd-iommu
mkdir "$WORK/own"
MACHINES=$WORK/own
cat >"$MACHINES/guest.toml" <<MACHINE
[machine]
name = "guest"
[[iommu]]
name = "iommu0"
model = "$unit"
[[device]]
address = "0000:00:08.0"
model = "nvme"
image = "nvme.img"
size = "$((size >> 20))M"
MACHINE

# The guest's root: one static program, the maker of file systems with its libraries, and what to do.
root=$WORK/root
mkdir -p "$root/bin" "$root/sbin"
cp "$guest/init" "$root/init"
cp "$(command -v busybox)" "$root/bin/busybox"
cp /sbin/mke2fs "$root/sbin/"
ldd /sbin/mke2fs | grep -oE '/[^ ]+' | sort -u | xargs -I{} cp -L --parents {} "$root"
(cd "$root" && find . | busybox cpio -o -H newc 2>/dev/null) >"$WORK/initramfs"
cp "$kernel" "$WORK/vmlinuz"

memory=512
device=vfio-pci,host=0000:00:08.0
words="console=ttyS0 quiet panic=-1 disk=$size"
options=(-no-reboot)
case $how in
  plain) options+=(-smp 2) ;;
  iommu)
    options+=(-device "intel-iommu,caching-mode=on")
    words+=" intel_iommu=on iommu"
    ;;
  intx) words+=" pci=nomsi" ;;
  nommap) device+=,x-no-mmap=on ;;
  shared) options+=(-object "memory-backend-memfd,id=ram,size=${memory}M,share=on" -machine memory-backend=ram) ;;
  twice)
    options=()
    words+=" twice"
    ;;
  resets) words+=" resets" ;;
  amd) ;;
  *) fail "unknown: $how" ;;
esac

cd "$WORK"
chmod 777 "$WORK"
# With RDRAND the guest need not wait until it has enough randomness.
on_machine guest "$who" "$view" qemu-system-x86_64 -M q35 -accel tcg -cpu qemu64,+rdrand -m "$memory" \
  -nodefaults -nographic -serial stdio -kernel vmlinuz -initrd initramfs -append "$words" "${options[@]}" -device "$device" </dev/null ||
  { cat log && fail "qemu ended with an error"; }
cat log
expect 'GUEST: passed' log
expect 'GUEST: controller 0x1b36:0x0010' log
case $how in
  iommu) expect 'GUEST: DMA is translated, DMA' log && expect 'IR-PCI-MSI.*nvme0q1' log ;;
  intx) expect 'IO-APIC.*nvme0q0' log ;;
  twice) expect 'GUEST: starts again' log ;;
  resets) expect 'GUEST: resets are over, .*flr' log ;;
  *) expect 'PCI-MSI.*nvme0q1' log ;;
esac

# What lies on the host: a file system without errors, and in it the guest's files.
e2fsck -f -n nvme.img >fsck 2>&1 || { cat fsck && fail "the guest's file system has errors"; }
for file in random sum folder/text; do debugfs -R "dump $file ${file##*/}" nvme.img 2>/dev/null; done
expect '^written in the guest$' text
[ "$(stat -c %s random)" = $((24 << 20)) ] || fail "the guest's file has $(stat -c %s random) bytes"
sha256sum --status -c sum || fail "the image holds other bytes than the guest read"
