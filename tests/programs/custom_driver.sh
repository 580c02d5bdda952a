#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# examples/custom_driver builds against an installed softiommu and keeps the contract; with one line broken, as its
# README says, the checker names the law.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
: "${BUILD:?}" "${SOURCE:?}"

prefix=$WORK/prefix
cmake --install "$BUILD" --prefix "$prefix" >"$WORK/install.log"

# build NAME [CMAKE OPTION...]: makes $WORK/NAME/libcustom_driver.so
build() {
  local name=$1
  shift
  cmake -S "$SOURCE/examples/custom_driver" -B "$WORK/$name" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_COMPILE_WARNING_AS_ERROR=ON "$@" >"$WORK/cmake.log" && cmake --build "$WORK/$name" >"$WORK/build.log" || {
    cat "$WORK/cmake.log" "$WORK/build.log" >&2
    fail "the example does not build"
  }
}

# check NAME: its exit status into $status, what it says into $WORK/log
check() {
  status=0
  timeout 120 "$prefix/bin/softiommu" check --plugin "$WORK/$1/libcustom_driver.so" >"$WORK/log" 2>&1 || status=$?
}

build good
check good
[ $status = 0 ] || { cat "$WORK/log" >&2 && fail "exit $status where all laws are kept"; }
expect 'slot-mmu' "$WORK/log"

build broken -DFORGET_TO_INVALIDATE=ON
check broken
[ $status = 1 ] || { cat "$WORK/log" >&2 && fail "exit $status where a law is breached"; }
expect 'stale' "$WORK/log"
