#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# QEMU's own NVMe driver, unmodified, through VFIO: writes, reads back, flushes; what an image holds outlives the program.
# usage: nvme.sh default|image root|user redirect|namespace|container
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
machine=$1 who=$2 view=$3
disk=nvme://0000:00:08.0/1

# The other machine: namespace 1 is a file in the program's working directory.
mkdir "$WORK/own"
MACHINES=$WORK/own
cat >"$MACHINES/image.toml" <<'MACHINE'
[machine]
name = "image"
[[iommu]]
name = "smmu0"
model = "arm-smmu-v3"
[[device]]
address = "0000:00:08.0"
model = "nvme"
image = "nvme.img"
size = "32M"
namespaces = 2
block = 4096
MACHINE
cd "$WORK"
on_machine "$machine" "$who" "$view" qemu-io -f raw -c "write -P 0x5a 1M 2M" -c "flush" -c "read -P 0x5a 1M 2M" \
  -c "read -P 0 3M 4k" -c "write -z 1M 64k" -c "read -P 0 1M 64k" -c "discard 2M 1M" -c "read -P 0 2M 1M" \
  -c "aio_write -P 0x11 8M 1M" -c "aio_write -P 0x22 9M 1M" -c "aio_flush" -c "read -P 0x22 9M 1M" "$disk" ||
  { cat "$WORK/log" && fail "qemu-io failed"; }
expect '^wrote 2097152/2097152 bytes' "$WORK/log"
if grep -q 'verification failed' "$WORK/log"; then cat "$WORK/log" && fail "other bytes were read than written"; fi
# Without the host's cache QEMU switches the controller's write cache off.
on_machine "$machine" "$who" "$view" qemu-img bench -f raw -t none -w -d 32 -c 2000 -s 4096 "$disk" ||
  { cat "$WORK/log" && fail "qemu-img bench failed"; }
expect '^Run completed' "$WORK/log"

[ "$machine" != default ] || exit 0
on_machine "$machine" "$who" "$view" qemu-io -f raw -c "read -P 0x11 8M 1M" "$disk"
if grep -q 'verification failed' "$WORK/log"; then fail "the image does not hold what was written"; fi
head -c 9M nvme.img | tail -c 1M | cmp -s - <(head -c 1M /dev/zero | tr '\0' '\021') || fail "the file holds other bytes"
# Everything from a file into the disk and back.
head -c 32M /dev/urandom >data
on_machine "$machine" "$who" "$view" qemu-img convert -n -f raw -O raw data "$disk"
on_machine "$machine" "$who" "$view" qemu-img compare -f raw -F raw data "$disk" || { cat "$WORK/log" && fail "qemu-img: they differ"; }
cmp data nvme.img || fail "the file holds other bytes than were converted into it"
status=0
on_machine "$machine" "$who" "$view" qemu-io -f raw -c "write -P 0x33 31M 4k" "$disk"
on_machine "$machine" "$who" "$view" qemu-img compare -f raw -F raw data "$disk" || status=$?
[ $status -eq 1 ] || fail "qemu-img compare of different disks: $status"
expect 'Content mismatch at offset 32505856' "$WORK/log"
# Many requests at once, of odd sizes.
for options in "-d 1 -c 2000" "-d 32 -c 20000" "-d 32 -c 1600 -s 12288 -S 20480" "-w -d 32 -c 4000" "-w -d 4 -c 500 -s 65536 --flush-interval 8"; do
  # shellcheck disable=SC2086
  on_machine "$machine" "$who" "$view" qemu-img bench -f raw $options "$disk" || { cat "$WORK/log" && fail "qemu-img bench $options"; }
  expect '^Run completed' "$WORK/log"
done
