#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Builds Linux's own VFIO and iommufd tests (tools/testing/selftests/{vfio,iommu}), unmodified, from Debian's kernel source
# package. usage: build-selftests.sh     prints the folder with the programs; exits with 3 if there is no such package
#
# The tests need the kernel's vfio.h and iommufd.h, as they are before they are installed; everything else they include is
# in Debian's headers (uuid-dev, libcap-dev) or in the kernel's tools/include.
. "$(dirname "${BASH_SOURCE[0]}")/../../../bench/peers/common.sh"

source=$("$PEERS_DIR/get-kernel-source.sh" 7.x) || exit $?
selftests=$source/tools/testing/selftests
[ -d "$selftests/vfio" ] || { echo "${0##*/}: this kernel has no VFIO tests" >&2 && exit 3; }
out=$PEERS_WORK/selftests
stamp="$(cat "$source/.unpacked") $(cksum <"${BASH_SOURCE[0]}")"
if [ "$(cat "$out/.built" 2>/dev/null)" = "$stamp" ]; then
  echo "$out"
  exit 0
fi
rm -rf "$out"
mkdir -p "$out/include/linux" "$out/objects"
for header in vfio.h iommufd.h; do cp "$source/include/uapi/linux/$header" "$out/include/linux/"; done

flags=(-O2 -g -w -D_GNU_SOURCE= -D'__counted_by(count)=' -D__user= -I"$out/include" -I"$selftests")

# compile FILE [FLAG...]: prints the object.
compile() {
  local file=$1 object
  object=$out/objects/$(basename "$1" .c).o
  shift
  "${CC:-cc}" "${flags[@]}" "$@" -c "$file" -o "$object" >>"$out/build.log" 2>&1 || {
    tail -n 20 "$out/build.log" >&2
    die "$file does not compile"
  }
  echo "$object"
}

# link NAME OBJECT_OR_LIBRARY...
link() {
  local name=$1
  shift
  "${CC:-cc}" "$@" -pthread -o "$out/$name" >>"$out/build.log" 2>&1 || {
    tail -n 20 "$out/build.log" >&2
    die "$name does not link"
  }
}

for name in iommufd iommufd_fail_nth; do
  object=$(compile "$selftests/iommu/$name.c")
  link "$name" "$object" -lcap
done

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
vfio=$selftests/vfio
vfio_flags=(-I"$source/tools/include" -I"$vfio/lib/include")
if grep -rqw calloc_assert "$vfio" && ! grep -rqE 'calloc_assert\(.*\) *\\?$' "$vfio/lib/include"; then
  vfio_flags+=(-include "$out/include/calloc_assert.h")
fi
library=()
while read -r file; do
  object=$(compile "$file" "${vfio_flags[@]}")
  library+=("$object")
done < <(find "$vfio/lib" -name '*.c' | sort)
for file in "$vfio"/vfio_*_test.c; do
  object=$(compile "$file" "${vfio_flags[@]}")
  link "$(basename "$file" .c)" "$object" "${library[@]}" -luuid
done
echo "$stamp" >"$out/.built"
echo "$out"
