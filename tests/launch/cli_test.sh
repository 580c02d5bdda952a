#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The command's promises: exit statuses, messages, nothing left behind. cli_test.sh SOFTIOMMU MACHINES
set -u
softiommu=$1
machines=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export TMPDIR="$work"
unset XDG_RUNTIME_DIR
failed=0

expect() {  # expect STATUS WHAT COMMAND...
  wanted=$1 what=$2
  shift 2
  "$@" >"$work.out" 2>"$work.err"
  got=$?
  if [ "$got" != "$wanted" ]; then
    echo "FAILED: $what: status $got, not $wanted: $*"
    sed 's/^/  /' "$work.err"
    failed=1
  fi
}
says() {  # says TEXT: on standard error or output of the last command
  grep -qF -- "$1" "$work.out" "$work.err" || { echo "FAILED: no '$1' in the answer"; failed=1; }
}

expect 0 "a program that succeeds" "$softiommu" run -- true
expect 7 "the program's own status" "$softiommu" run -- sh -c 'exit 7'
expect 7 "without the dashes" "$softiommu" run sh -c 'exit 7'
expect 143 "a program that a signal ended" "$softiommu" run -- sh -c 'kill -TERM $$'
expect 127 "a program that is not there" "$softiommu" run no-such-program
expect 126 "a program that cannot be executed" "$softiommu" run /etc/passwd
expect 2 "a run of nothing" "$softiommu" run
expect 2 "an unknown option" "$softiommu" run --no-such-option -- true
expect 2 "a limit that is no size" "$softiommu" run --memlock lots -- true
expect 2 "a folder as machine file" "$softiommu" run --machine "$work" -- true
says "Is a directory"
expect 2 "an endless machine file" "$softiommu" run --machine /dev/zero -- true
expect 2 "a trace that cannot be written" "$softiommu" run --trace "$work/none/trace" -- true
expect 0 "a trace of a program without devices" "$softiommu" run --trace "$work/trace" -- true
grep -q traceEvents "$work/trace" || { echo "FAILED: no trace was written"; failed=1; }
expect 0 "the version" "$softiommu" --version
says "softiommu "

printf 'name = "x"\nnonsense = 1\n' >"$work/bad.toml"
expect 2 "a machine file that is not valid" "$softiommu" run --machine "$work/bad.toml" -- true
says "bad.toml:1:"
expect 2 "a machine file that is not there" "$softiommu" show --machine "$work/none.toml"

expect 0 "the default machine" "$softiommu" show
says "8086:2021"
says "/dev/vfio/0"
for machine in "$machines"/*.toml; do
  expect 0 "$machine" "$softiommu" show --machine "$machine"
done

expect 0 "table memory" "$softiommu" show --machine "$machines/amd-server.toml" --memory=1G
says "2.01 MiB for 1G; amd0 amd1 amd2 amd3"
expect 0 "table memory as on Linux" "$softiommu" show --machine "$machines/arm-server-smmuv3.toml" --memory=1G --rules linux
says "in 4 domains for 4 units"
expect 2 "table memory of no size" "$softiommu" show --memory=much

expect 2 "a rule of fault injection that is none" "$softiommu" run --fail sometimes -- true
says "--fail sometimes: a rule is"
expect 2 "a probability that is none" "$softiommu" run --fail point=a,probability=2 -- true

expect 0 "the view" "$softiommu" run -- sh -c 'cat /sys/bus/pci/devices/0000:00:04.0/vendor; ls /dev/vfio'
says "0x8086"
expect 0 "groups name their devices" "$softiommu" run -- sh -c 'test -L /sys/kernel/iommu_groups/0/devices/0000:00:04.0'
expect 0 "arguments of the program stay its own" "$softiommu" run -- sh -c 'test "$1" = --machine' sh --machine

# Another terminal. Which run is the only one depends on what else this user does here, so each is named.
expect 2 "an unknown command of ctl" "$softiommu" ctl explode
expect 2 "a device too many" "$softiommu" ctl list 0000:00:04.0
expect 1 "a process that is none of a run" "$softiommu" ctl --run 1 list
says "process 1 belongs to no run"
expect 1 "a folder that is none of a run" "$softiommu" ctl --run "$work" list
says "nobody answers for the run"
mkfifo "$work/begun" "$work/wait"
"$softiommu" run -- sh -c 'echo $$ >"$1"; read -r line <"$2"' sh "$work/begun" "$work/wait" &
launcher=$!
program=$(cat "$work/begun")
expect 0 "a run by its launcher" "$softiommu" ctl --run "$launcher" list
says "0000:00:04.0 8086:2021 vfio-pci, group 0, vfio0"
expect 0 "a run by its program" "$softiommu" ctl --run "$program" list
expect 0 "a run by its folder" "$softiommu" ctl --run "$(echo "$work"/softiommu-*)" list
expect 1 "a device that is not there" "$softiommu" ctl --run "$program" unplug 00:1f.0
says "0000:00:1f.0: no such device"
expect 0 "a device without its segment" "$softiommu" ctl --run "$program" unplug 00:06.0
says "0000:00:06.0 is gone"
echo go >"$work/wait"
wait "$launcher"

# A process that goes on when the program has ended keeps the run's view; the folder goes with it.
mkfifo "$work/go" "$work/seen"
expect 0 "a program that leaves a process behind" "$softiommu" run -- \
  sh -c '(read -r line <"$1"; cat /sys/bus/pci/devices/0000:00:04.0/vendor >"$2") >/dev/null 2>&1 &' sh "$work/go" "$work/seen"
echo go >"$work/go"
[ "$(cat "$work/seen")" = 0x8086 ] || { echo "FAILED: the view ended with the first process"; failed=1; }
for _ in $(seq 100); do
  left=$(ls "$work" | grep -c '^softiommu-')
  [ "$left" = 0 ] && break
  sleep 0.05
done
[ "$left" = 0 ] || { echo "FAILED: $left run folders are left"; failed=1; }
rm -f "$work.out" "$work.err"
exit $failed
