#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# src/iommufd/abi.h and src/vfio/abi.h against the headers of the newest kernel: distributions install older ones.
# usage: kernel_abi.sh. Exits with 77 if the kernel's source package cannot be had.
here=$(dirname "${BASH_SOURCE[0]}")
. "$here/common.sh"

folder=$("$here/kernel/build-selftests.sh") || {
  echo "the kernel's headers cannot be had here: skipped"
  exit 77
}
root=$here/../..
"${CXX:-c++}" -std=c++23 -D'__counted_by(count)=' -D__user= -isystem "$folder/include" -I"$root/src" "$root"/tests/uapi/*abi_test.cpp \
  -lgtest_main -lgtest -pthread -o "$WORK/abi" || fail "the comparison does not compile"
"$WORK/abi" >"$WORK/log" 2>&1 || { cat "$WORK/log" >&2 && fail "a structure or number differs"; }
expect 'IommufdAbi.StructuresAreTheKernels' "$WORK/log"
