# SPDX-License-Identifier: BSD-3-Clause
# What the tools share: where the project is, which Debian packages it needs, how to build.
# shellcheck shell=bash
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$ROOT"

BUILD_PACKAGES=(g++ cmake ninja-build pkg-config libfmt-dev libcli11-dev libtomlplusplus-dev nlohmann-json3-dev
  libzydis-dev libzycore-dev)
DEMO_PACKAGES=(dpdk dpdk-dev librte-dma-ioat23 pciutils)
PEER_PACKAGES=(make gcc flex bison bc libelf-dev xz-utils python3)
TEST_PACKAGES=(git python3 libgtest-dev libgmock-dev libbenchmark-dev libseccomp-dev clang-19 libclang-rt-19-dev llvm-19
  clang-format-19 clang-tidy-19 gdb valgrind util-linux ccache uuid-dev libcap-dev qemu-utils parallel slurm-wlm
  qemu-system-x86 busybox-static e2fsprogs musl-tools golang-go rustc procps)

die() {
  echo "${0##*/}: $*" >&2
  exit 1
}

say() { printf '\n== %s\n' "$*"; }

# Installs what is missing (root), or prints the one line that does.
need_packages() {
  local missing=() name
  for name in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null || true)" = installed ] || missing+=("$name")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" -ne 0 ]; then
    echo "Some Debian packages are missing. As root, run this line and then ${0##*/} again:" >&2
    echo "  apt-get update && apt-get install -y --no-install-recommends ${missing[*]}" >&2
    exit 1
  fi
  say "installing Debian packages: ${missing[*]}"
  local log
  log=$(mktemp)
  if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } \
    >"$log" 2>&1; then
    tail -n 30 "$log" >&2
    die "the packages could not be installed"
  fi
  rm -f "$log"
}

# build PRESET [CMAKE OPTION...] [-- TARGET...]
build() {
  local preset=$1 options=() targets=()
  shift
  while [ $# -gt 0 ] && [ "$1" != -- ]; do
    options+=("$1")
    shift
  done
  [ $# -eq 0 ] || { shift && targets=(--target "$@"); }
  cmake --preset "$preset" "${options[@]}" >"build-$preset.log" 2>&1 || {
    cat "build-$preset.log" >&2
    die "configuring $preset failed"
  }
  cmake --build "build/$preset" "${targets[@]}" >>"build-$preset.log" 2>&1 || {
    grep -E -A5 'error|FAILED' "build-$preset.log" | head -n 60 >&2
    die "building $preset failed (build-$preset.log)"
  }
  rm -f "build-$preset.log"
}

# peers_work PURPOSE: builds Linux's page-table code (bench/peers/) and prints the folder; 3 if its source is not to be had.
peers_work() {
  bench/peers/build.sh "$1" >&2 || return
  (. bench/peers/common.sh && echo "$PEERS_WORK")
}
