#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Linux's page tables and ours side by side (differential.cpp), with Linux 7.x and 6.12.
# usage: differential.sh LIBRARY [OPERATIONS [SEED [CASE]]]     LIBRARY: libpeer_candidate.so
# Exits with 3 if the kernel sources are not to be had.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[ $# -ge 1 ] || die "usage: ${0##*/} LIBRARY [OPERATIONS [SEED [CASE]]]"
library=$(realpath "$1")
shift
"$PEERS_DIR/build.sh" test
for kernel in new old; do
  "$PEERS_WORK/bin/differential-$kernel" "$kernel" "$library" "$@" &
done
failed=0
for job in $(jobs -p); do wait "$job" || failed=1; done
exit $failed
