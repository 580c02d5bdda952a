#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What sysfs.sh has done in a run. usage: sysfs_steps.sh FOLDER sr-iov|groups     FOLDER has the programs
set -euo pipefail
work=$1
bus=/sys/bus/pci vfio=/sys/bus/pci/drivers/vfio-pci devices=/sys/bus/pci/devices
pf=0000:00:04.0 vf=0000:00:14.0 ioat=0000:00:07.0
token=52ac9bff-3a88-4fbd-901a-0d767c3b6c97

fail() {
  echo "FAILED: $*" >&2
  exit 1
}
says() { [ "$(cat "$1")" = "$2" ] || fail "$1 says $(cat "$1"), not $2"; }
driver_of() { basename "$(readlink "$devices/$1/driver" || echo none)"; }
has_driver() { [ "$(driver_of "$1")" = "$2" ] || fail "$1 has the driver $(driver_of "$1"), not $2"; }
group_of() { basename "$(readlink "$devices/$1/iommu_group")"; }

# errno FILE TEXT NAME: a write is refused so, by whatever program writes.
errno() {
  python3 - "$@" <<'PYTHON' || fail "$*"
import errno, os, sys
file, text, name = sys.argv[1:]
fd = os.open(file, os.O_WRONLY)
try:
    os.write(fd, text.encode())
except OSError as error:
    sys.exit(f"{errno.errorcode[error.errno]}" if errno.errorcode[error.errno] != name else 0)
sys.exit("no error")
PYTHON
}

# Other ways to write: at an offset, which leaves the position; in parts; from a bad address; by a child of vfork.
writes_of_all_kinds() {
  python3 - "$devices/$ioat/driver_override" <<'PYTHON' || fail "writes of all kinds"
import ctypes, errno, os, subprocess, sys
path = sys.argv[1]
file = os.open(path, os.O_WRONLY)
def shows(text):
    with open(path) as now:
        said = now.read().strip()
    if said != text:
        sys.exit(f"{path} shows {said}, not {text}")
def at(position):
    if os.lseek(file, 0, os.SEEK_CUR) != position:
        sys.exit(f"the position is {os.lseek(file, 0, os.SEEK_CUR)}, not {position}")
if os.pwrite(file, b"vfio-pci\n", 0) != 9: sys.exit("pwrite")
shows("vfio-pci"), at(0)
if os.pwritev(file, [b"ioat", b"dma\n"], 0) != 8: sys.exit("pwritev")
shows("ioatdma"), at(0)
if os.writev(file, [b"pci-", b"stub", b"\n"]) != 9: sys.exit("writev")
shows("pci-stub"), at(9)
class Part(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("bytes", ctypes.c_size_t)]
libc = ctypes.CDLL(None, use_errno=True)
if libc.writev(file, ctypes.byref(Part(8, 4)), 1) != -1 or ctypes.get_errno() != errno.EFAULT:
    sys.exit("writev of a bad address")
shows("pci-stub")
subprocess.run(["sh", "-c", "echo vfio-pci"], stdout=file, check=True)
shows("vfio-pci")
if os.write(1, b"") != 0: sys.exit("standard output")
PYTHON
}

# begin_copying BDF HOW: the client, with its output in $work/tmp/said.
begin_copying() {
  : >"$work/tmp/said"
  "$work/hotplug" "$1" "$2" >"$work/tmp/said" 2>&1 &
  client=$!
  for _ in $(seq 500); do
    grep -q copying "$work/tmp/said" && return
    sleep 0.02
  done
  fail "the client does not copy: $(cat "$work/tmp/said")"
}
# end_copying WHAT: it was asked, and let go.
end_copying() {
  wait $client || fail "the client after $1: $(cat "$work/tmp/said")"
  grep -q 'let go$' "$work/tmp/said" || fail "the client after $1 said $(cat "$work/tmp/said")"
}

# --- a group of two devices, on machines/groups.toml
if [ "$2" = groups ]; then
  ioat=0000:03:00.0 edu=0000:04:00.0
  echo $ioat >$vfio/unbind
  "$work/vfio_dma" $edu || fail "a device without a driver keeps nobody from its group"
  echo ioatdma >$devices/$ioat/driver_override
  begin_copying $edu removed
  errno $bus/drivers/ioatdma/bind $ioat EBUSY
  has_driver $ioat none
  echo 1 >$devices/$edu/remove
  end_copying remove
  echo 1 >$bus/rescan
  echo $ioat >$bus/drivers/ioatdma/bind
  "$work/vfio_dma" $edu 2>"$work/tmp/error" && fail "the group is viable with a driver that uses DMA"
  grep -q 'not viable' "$work/tmp/error" || fail "vfio_dma says $(cat "$work/tmp/error")"
  echo $ioat >$bus/drivers/ioatdma/unbind
  "$work/vfio_dma" $edu
  echo "all steps done"
  exit
fi

# --- who writes, and how
errno $vfio/bind $pf EBUSY
errno $vfio/unbind 0000:00:1f.0 ENODEV
errno $devices/$pf/sriov_numvfs 5 ERANGE
errno $devices/$pf/reset 0 EINVAL
(echo $pf >$vfio/bind) 2>"$work/tmp/error" && fail "bash's echo saw no error"
grep -q 'Device or resource busy' "$work/tmp/error" || fail "bash says $(cat "$work/tmp/error")"
/bin/echo $pf >$vfio/bind 2>/dev/null && fail "/bin/echo saw no error"
echo $pf | tee $vfio/bind >/dev/null 2>&1 && fail "tee saw no error"
sh -c "echo $pf >$vfio/bind" 2>/dev/null && fail "sh saw no error"
perl -e "open F, '>', '$vfio/bind' or die; print F '$pf'; close F and exit 0; exit 1" && fail "perl saw no error"
for write in "echo %s >FILE" "printf %s >FILE" "/bin/echo %s >>FILE" "echo %s | tee FILE" "echo %s | dd of=FILE status=none" \
  "python3 -c 'open(\"FILE\", \"w\").write(\"%s\")'" "exec 7>FILE; echo %s >&7" "cp NAME FILE" "sh -c 'echo %s >FILE'"; do
  name=x$RANDOM
  echo $name >"$work/tmp/name"
  command=${write//FILE/$devices/$ioat/driver_override}
  command=${command//NAME/$work/tmp/name}
  (eval "${command//%s/$name}" >/dev/null)
  says $devices/$ioat/driver_override $name
done
(cd $devices/$ioat && echo vfio-pci >driver_override && says driver_override vfio-pci)
[ "$(stat -c '%s %a' $vfio/bind)" = "4096 200" ] || fail "bind is $(stat -c '%s %a' $vfio/bind)"
cat $vfio/bind 2>/dev/null && fail "bind could be read"
(echo 1 >$devices/$pf/vendor) 2>/dev/null && fail "vendor could be opened for writing"

# --- as driverctl does: another driver, and back
node=/dev/vfio/$(group_of $ioat)
echo ioatdma >$devices/$ioat/driver_override
echo $ioat >$vfio/unbind
[ ! -e "$node" ] || fail "$node is there without vfio-pci"
has_driver $ioat none
echo $ioat >$bus/drivers_probe
has_driver $ioat ioatdma
echo vfio-pci >$devices/$ioat/driver_override
echo $ioat >$bus/drivers/ioatdma/unbind
echo $ioat >$bus/drivers_probe
has_driver $ioat vfio-pci
[ -c "$node" ] || fail "$node did not come back"
echo $ioat >$vfio/unbind
echo >$devices/$ioat/driver_override
says $devices/$ioat/driver_override '(null)'
echo "$(sed s/0x// $devices/$ioat/vendor) $(sed s/0x// $devices/$ioat/device)" >$vfio/new_id
has_driver $ioat vfio-pci
printf 'dmadev_autotest\nquit\n' | timeout 120 dpdk-test --no-huge -m 512 --iova-mode=va --no-shconf --no-telemetry -l 0 \
  -a $ioat >"$work/tmp/dpdk" 2>&1 || fail "dpdk-test: $(tail -n 20 "$work/tmp/dpdk")"
grep -q 'Test OK' "$work/tmp/dpdk" || fail "dpdk-test: $(tail -n 20 "$work/tmp/dpdk")"

# --- virtual functions, used by other processes than the one that made them
"$work/vfio_dma" $vf 2>/dev/null && fail "$vf is there before it was made"
echo 2 >$devices/$pf/sriov_numvfs
says $devices/$pf/sriov_numvfs 2
[ "$(basename "$(readlink $devices/$pf/virtfn0)")" = $vf ] || fail "virtfn0 is not $vf"
has_driver $vf vfio-pci
"$work/vfio_dma" $vf 2>/dev/null && fail "$vf could be opened without its token"
"$work/vfio_dma" --vf-token $token $pf
"$work/vfio_dma" --vf-token $token $vf
errno $devices/$pf/sriov_numvfs 3 EBUSY
echo 0 >$devices/$pf/sriov_numvfs
[ ! -e $devices/$vf ] || fail "$vf is still there"
if env -u LD_PRELOAD test -e $devices/$pf/sriov_numvfs; then # a program that nothing of ours is in
  env -u LD_PRELOAD sh -c "echo 1 >$devices/$pf/sriov_numvfs"
  for _ in $(seq 500); do
    [ ! -e $devices/$vf/driver ] || break
    sleep 0.01
  done
  has_driver $vf vfio-pci
  echo 0 >$devices/$pf/sriov_numvfs
fi

writes_of_all_kinds

# --- devices that go while a program uses them
for how in remove unbind; do
  begin_copying $pf removed
  if [ $how = remove ]; then echo 1 >$devices/$pf/remove; else echo $pf >$vfio/unbind; fi
  grep -q 'asked to let go' "$work/tmp/said" || fail "the $how did not wait for the client"
  end_copying $how
  if [ $how = remove ]; then echo 1 >$bus/rescan; else echo $pf >$vfio/bind; fi
  has_driver $pf vfio-pci
  "$work/vfio_dma" $pf
done
begin_copying $pf unplugged
"$work/softiommu" ctl unplug $pf
end_copying unplug
[ ! -e $devices/$pf ] || fail "$pf is still there"
"$work/softiommu" ctl unplug $pf 2>/dev/null && fail "it was unplugged twice"
"$work/softiommu" ctl plug $pf
"$work/vfio_dma" $pf
"$work/softiommu" ctl list | grep -q "^$pf .*vfio-pci" || fail "the list has no $pf"
echo "all steps done"
