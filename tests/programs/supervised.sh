#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A program that the preloaded shim cannot enter does DMA. usage: supervised.sh CLIENT root|user redirect|namespace
# CLIENT: one of clients/static built with the others (handover: processes, which executes itself as a
# dynamic program; inherit: the dynamic one, which executes itself as a static program), or go, rust, rust-static, musl, musl-static: built here, and
# skipped (77) where the compiler is not to be had.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
client=$1 who=$2 view=$3
sources=$(cd "$(dirname "${BASH_SOURCE[0]}")/clients/static" && pwd)
bdf=0000:00:06.0
variables=(env SUPERVISED=1 PEER="$WORK/vfio_dma")

need() {
  command -v "$1" >/dev/null || {
    echo "$1 is not installed: skipped"
    exit 77
  }
}

# musl's headers first; the kernel's are the host's.
build_musl() {
  need musl-gcc
  local kernel=(-idirafter /usr/include -idirafter "/usr/include/$(gcc -print-multiarch)")
  musl-gcc -O2 "$@" "${kernel[@]}" -o "$WORK/program" "$SOURCE/examples/vfio_dma.c"
}

case $client in
  go)
    need go
    GOCACHE="$WORK/cache" GO111MODULE=off CGO_ENABLED=0 go build -o "$WORK/program" "$sources/vfio.go"
    ;;
  rust | rust-static)
    need rustc
    target=()
    [ "$client" = rust ] || target=(-C target-feature=+crt-static)
    rustc --edition 2021 -O "${target[@]}" -o "$WORK/program" "$sources/vfio.rs"
    ;;
  musl) build_musl ;;
  musl-static) build_musl -static ;;
  handover)
    cp "$PROGRAMS/static/processes" "$WORK/program"
    cp "$PROGRAMS/processes" "$WORK/dynamic"
    chmod 755 "$WORK/dynamic"
    variables+=(CONTINUES_AS="$WORK/dynamic")
    ;;
  inherit)
    cp "$PROGRAMS/processes" "$WORK/program"
    cp "$PROGRAMS/static/processes" "$WORK/static"
    chmod 755 "$WORK/static"
    variables=(env CONTINUES_AS="$WORK/static")
    ;;
  *) cp "$PROGRAMS/static/$client" "$WORK/program" ;;
esac
chmod 755 "$WORK/program"
status=0
on_machine default "$who" "$view" "${variables[@]}" "$WORK/program" "$bdf" || status=$?
cat "$WORK/log"
[ $status -eq 0 ] || fail "$client ended with $status"
