#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Builds Linux's page-table code as objects that link into programs here, and the programs that run it.
# usage: build.sh [bench | test]
#   bench   (default) gcc and clang objects, and pt-<kernel>-<compiler>, pt-candidate for run.sh
#   test    gcc objects, and differential-new, differential-old for differential.sh
# All is kept in the cache folder and made again only if its inputs changed. Exits with 3 if a kernel source package
# is not to be had.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

purpose=${1:-bench}
CLANG=${CLANG:-clang-19}
bin=$PEERS_WORK/bin
log=$PEERS_WORK/log
mkdir -p "$bin" "$log"
for tool in gcc g++ make flex bison bc python3; do
  command -v "$tool" >/dev/null || { echo "${0##*/}: $tool is missing (README.md, Prerequisites)" >&2 && exit 3; }
done

# One at a time: two would build in the same folders.
exec 9>"$PEERS_WORK/lock"
flock 9

io_pgtable='drivers/iommu/iommu.o drivers/iommu/io-pgtable.o drivers/iommu/io-pgtable-arm.o
  drivers/iommu/io-pgtable-arm-v7s.o drivers/iommu/iommufd/iova_bitmap.o lib/rbtree.o lib/find_bit.o
  drivers/iommu/page_glue.o'
new_targets="drivers/iommu/pt_glue_new.o drivers/iommu/iommu-pages.o drivers/iommu/io-pgtable-dart.o
  drivers/iommu/generic_pt/fmt/iommu_vtdss.o drivers/iommu/generic_pt/fmt/iommu_x86_64.o
  drivers/iommu/generic_pt/fmt/iommu_amdv1.o drivers/iommu/generic_pt/fmt/iommu_riscv64.o $io_pgtable"
old_targets="drivers/iommu/intel/pt_glue_old.o drivers/iommu/amd/io_pgtable.o drivers/iommu/amd/io_pgtable_v2.o
  $io_pgtable"

# Puts files beside the kernel's own. A file that did not change keeps its time, so that make has nothing to do.
add_glue() {
  local folder=$1 file
  shift
  for file in "$@"; do cmp -s "$PEERS_DIR/$file" "$folder/${file##*/}" || cp "$PEERS_DIR/$file" "$folder/"; done
}

# kernel_objects SOURCE NAME COMPILER TARGETS: configures once, builds, and joins the objects to $PEERS_WORK/NAME.o.
kernel_objects() {
  local source=$1 name=$2 compiler=$3 targets=$4 out=$PEERS_WORK/obj-$2
  mkdir -p "$out"
  echo "kernel objects: $name" >&2
  configure_and_make >"$log/$name.log" 2>&1 || {
    tail -n 30 "$log/$name.log" >&2
    die "kernel objects $name failed (log: $log/$name.log)"
  }
}

# Uses the variables of kernel_objects. Chained with &&, as "set -e" does not work in a condition.
# shellcheck disable=SC2086
configure_and_make() {
  local make=(make -C "$source" O="$out" CC="$compiler")
  configure && "${make[@]}" -j"$JOBS" $targets &&
    (cd "$out" && ld -r -z noexecstack -o "$PEERS_WORK/$name.o" $targets)
}
configure() {
  if cmp -s "$PEERS_DIR/kernel/config" "$out/.peers-config"; then return 0; fi
  "${make[@]}" tinyconfig && cat "$PEERS_DIR/kernel/config" >>"$out/.config" && "${make[@]}" olddefconfig &&
    check_config && cp "$PEERS_DIR/kernel/config" "$out/.peers-config"
}
# kernel/env.c stands in for a kernel without these; with them the programs would crash.
check_config() {
  ! grep -E '^CONFIG_(TRACEPOINTS|LOCKDEP|KASAN|MITIGATION_RETPOLINE)=y' "$out/.config"
}

new_source=$("$PEERS_DIR/get-kernel-source.sh" 7.x)
old_source=$("$PEERS_DIR/get-kernel-source.sh" 6.12)
for source in "$new_source" "$old_source"; do
  add_glue "$source/drivers/iommu" kp.h peer.h kernel/{page_glue.c,page_glue.h,pt_glue_common.h}
done
add_glue "$new_source/drivers/iommu" kernel/pt_glue_new.c
add_glue "$old_source/drivers/iommu/intel" kernel/pt_glue_old.c

compilers=gcc
if [ "$purpose" = bench ] && command -v "$CLANG" >/dev/null; then compilers='gcc clang'; fi
for compiler in $compilers; do
  cc=gcc
  [ "$compiler" = gcc ] || cc=$CLANG
  kernel_objects "$new_source" "new-$compiler" "$cc" "$new_targets"
  kernel_objects "$old_source" "old-$compiler" "$cc" "$old_targets"
done

# compile OBJECT SOURCE FLAG...: unless the object is newer than all that this folder holds.
compile() {
  local object=$PEERS_WORK/$1.o source=$PEERS_DIR/$2
  shift 2
  [ -z "$(find "$PEERS_DIR" -name '*.[ch]*' -newer "$object" 2>/dev/null || echo new)" ] && return
  case $source in
    *.c) gcc -std=gnu11 -O2 -Wall -fno-pie -I"$PEERS_DIR" -I"$PEERS_DIR/kernel" "$@" -c "$source" -o "$object" ;;
    *) g++ -std=c++20 -O2 -Wall -Wextra -fno-pie -I"$PEERS_DIR" "$@" -c "$source" -o "$object" ;;
  esac
}
compile env kernel/env.c
cd "$PEERS_WORK"
# Kernel objects are built for addresses below 2 GiB and refer to much that is never called.
kernel_link=(-no-pie '-Wl,--unresolved-symbols=ignore-all' '-Wl,-z,noexecstack')
if [ "$purpose" = test ]; then
  compile differential differential.cpp
  for kernel in new old; do
    g++ "${kernel_link[@]}" -o "$bin/differential-$kernel" differential.o env.o "$kernel-gcc.o" -ldl
  done
  exit 0
fi
for source in pt_bench kp_linked kp_loaded; do compile "$source" "$source.cpp"; done
for compiler in $compilers; do
  for kernel in new old; do
    g++ "${kernel_link[@]}" -static -o "$bin/pt-$kernel-$compiler" pt_bench.o kp_linked.o env.o "$kernel-$compiler.o"
  done
done
g++ -no-pie -o "$bin/pt-candidate" pt_bench.o kp_loaded.o -ldl
