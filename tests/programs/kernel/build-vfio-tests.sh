#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Builds Linux's own VFIO tests (tools/testing/selftests/vfio), unmodified, from Debian's kernel source package.
# usage: build-vfio-tests.sh     prints the folder with the programs; exits with 3 if there is no such package
#
# The tests need the kernel's vfio.h and iommufd.h, as they are before they are installed; everything else they include is
# in Debian's headers (uuid-dev) or in the kernel's tools/include.
. "$(dirname "${BASH_SOURCE[0]}")/../../../bench/peers/common.sh"

source=$("$PEERS_DIR/get-kernel-source.sh" 7.x) || exit $?
tests=$source/tools/testing/selftests/vfio
[ -d "$tests" ] || { echo "${0##*/}: this kernel has no VFIO tests" >&2 && exit 3; }
out=$PEERS_WORK/vfio-tests
stamp=$(cat "$source/.unpacked")
if [ "$(cat "$out/.built" 2>/dev/null)" = "$stamp" ]; then
  echo "$out"
  exit 0
fi
rm -rf "$out"
mkdir -p "$out/include/linux" "$out/objects"
for header in vfio.h iommufd.h; do cp "$source/include/uapi/linux/$header" "$out/include/linux/"; done

# 7.2.13 uses calloc_assert() without defining it.
cat >"$out/include/calloc_assert.h" <<'HEADER'
#include <stdio.h>
#include <stdlib.h>
#ifndef calloc_assert
static inline void *calloc_assert(size_t count, size_t size) {
  void *memory = calloc(count, size);
  if (memory == NULL) abort();
  return memory;
}
#endif
HEADER
flags=(-O2 -g -w -D_GNU_SOURCE= -D'__counted_by(count)=' -I"$out/include" -I"$source/tools/include" -I"$tests/lib/include" -I"$source/tools/testing/selftests")
if grep -rqw calloc_assert "$tests" && ! grep -rqE 'calloc_assert\(.*\) *\\?$' "$tests/lib/include"; then
  flags+=(-include "$out/include/calloc_assert.h")
fi

compile() {
  local object
  object=$out/objects/$(basename "$1" .c).o
  "${CC:-cc}" "${flags[@]}" -c "$1" -o "$object" >>"$out/build.log" 2>&1 || {
    tail -n 20 "$out/build.log" >&2
    die "$1 does not compile"
  }
  echo "$object"
}

library=()
while read -r file; do library+=("$(compile "$file")"); done < <(find "$tests/lib" -name '*.c' | sort)
for file in "$tests"/vfio_*_test.c; do
  name=$(basename "$file" .c)
  "${CC:-cc}" "$(compile "$file")" "${library[@]}" -pthread -luuid -o "$out/$name" >>"$out/build.log" 2>&1 || {
    tail -n 20 "$out/build.log" >&2
    die "$name does not link"
  }
done
echo "$stamp" >"$out/.built"
echo "$out"
