# SPDX-License-Identifier: BSD-3-Clause
# What the program tests share. SOFTIOMMU names the command of the build under test, MACHINES its machine files.
# shellcheck shell=bash
set -euo pipefail
: "${SOFTIOMMU:?}" "${MACHINES:?}" "${EXAMPLES:?}" "${PROGRAMS:?}"

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

skip() {
  echo "SKIPPED: $*"
  exit 77
}

WORK=$(mktemp -d)
chmod 755 "$WORK"
trap 'rm -rf "$WORK"' EXIT

# expect TEXT FILE: the file holds the text.
expect() {
  grep -qE -- "$1" "$2" || {
    tail -n 60 "$2" >&2
    fail "no line matches: $1"
  }
}

# as_user COMMAND...: as an ordinary user, from a copy that everyone can read.
as_user() {
  if [ "$(id -u)" -ne 0 ]; then
    "$@"
    return
  fi
  setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs \
    env -i PATH=/usr/bin:/bin HOME="$WORK/home" TMPDIR="$WORK/tmp" "$@"
}

# Makes $WORK/softiommu, $WORK/machines and the example programs readable for everyone.
public_copy() {
  mkdir -p "$WORK/home" "$WORK/tmp"
  chmod 777 "$WORK/home" "$WORK/tmp"
  mkdir -p "$WORK/lib"
  cp "$SOFTIOMMU" "$WORK/softiommu"
  cp -r "$(dirname "$SOFTIOMMU")/lib/softiommu" "$WORK/lib/"
  cp -r "$MACHINES" "$WORK/machines"
  cp "$EXAMPLES/vfio_dma" "$PROGRAMS/container_seccomp" "$WORK/"
  chmod -R go+rX "$WORK/softiommu" "$WORK/lib" "$WORK/machines" "$WORK/vfio_dma" "$WORK/container_seccomp"
}

# kernel_results LOG: the tests that a kernel's test program names there, into $WORK/passed, failed and skipped, sorted.
kernel_results() {
  sed -nE 's/^not ok [0-9]+ ([^ ]+).*/\1/p' "$1" | sort >"$WORK/failed"
  sed -nE 's/^ok [0-9]+ ([^ ]+) # SKIP.*/\1/p' "$1" | sort >"$WORK/skipped"
  sed -nE 's/^ok [0-9]+ ([^ ]+)$/\1/p' "$1" | sort >"$WORK/passed"
}

# kernel_judge PROGRAM: what failed in $WORK/log is known (kernel/known-failures), and something passed.
kernel_judge() {
  kernel_results "$WORK/log"
  grep "^$1\." "$(dirname "${BASH_SOURCE[0]}")/kernel/known-failures" | sort >"$WORK/known" || true
  [ -s "$WORK/passed" ] || { cat "$WORK/log" >&2 && fail "$1: no test passed"; }
  local new
  new=$(comm -23 "$WORK/failed" "$WORK/known")
  [ -z "$new" ] || { cat "$WORK/log" >&2 && fail "$1: $new"; }
  expect '^# Totals:' "$WORK/log"
}

DPDK_ARGS=(--no-huge -m 512 --iova-mode=va --no-shconf --no-telemetry -l 0)

# on_machine MACHINE|default root|user redirect|namespace|container PROGRAM ARGS...: runs it there, output in $WORK/log.
on_machine() {
  local machine=$1 who=$2 view=$3 prefix=() options=() as=()
  shift 3
  public_copy
  [ "$machine" = default ] || options+=(--machine "$WORK/machines/$machine.toml")
  case $view in
    container) prefix=("$WORK/container_seccomp") && options+=(--view redirect) ;;
    *) options+=(--view "$view") ;;
  esac
  [ "$who" = root ] || as=(as_user)
  "${as[@]}" timeout 240 "${prefix[@]}" "$WORK/softiommu" run "${options[@]}" -- "$@" >"$WORK/log" 2>&1
}
