#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# An installed tree works: the command runs a program, and a program builds against the library both ways.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
: "${BUILD:?}" "${SOURCE:?}"

prefix=$WORK/prefix
cmake --install "$BUILD" --prefix "$prefix" >"$WORK/install.log"
"$prefix/bin/softiommu" run -- "$EXAMPLES/vfio_dma" 0000:00:06.0 >"$WORK/log"
expect 'copied 4096 bytes' "$WORK/log"

mkdir "$WORK/program"
cp "$SOURCE/examples/embed.cpp" "$WORK/program/"
cat >"$WORK/program/CMakeLists.txt" <<'CMAKE'
cmake_minimum_required(VERSION 3.25)
project(program CXX)
find_package(softiommu REQUIRED)
add_executable(embed embed.cpp)
target_link_libraries(embed softiommu::softiommu)
CMAKE
cmake -S "$WORK/program" -B "$WORK/program/build" -DCMAKE_PREFIX_PATH="$prefix" >"$WORK/cmake.log"
cmake --build "$WORK/program/build" >"$WORK/build.log"
"$WORK/program/build/embed" >"$WORK/log"
expect '0000:00:03.0 refused domain' "$WORK/log"

pc=$(dirname "$(find "$prefix" -name softiommu.pc)")
# shellcheck disable=SC2046
g++ -std=c++23 "$SOURCE/examples/embed.cpp" -o "$WORK/embed" $(PKG_CONFIG_PATH="$pc" pkg-config --cflags --libs softiommu)
LD_LIBRARY_PATH="$(dirname "$pc")" "$WORK/embed" >"$WORK/log"
expect 'domains: 2' "$WORK/log"
