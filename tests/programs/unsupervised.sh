#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Where the host allows no ptrace, a static program runs as it is, and one line says so; its status is its own.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

cp "$PROGRAMS/static/vfio_dma" "$WORK/program"
chmod 755 "$WORK/program"
status=0
on_machine default user container "$WORK/program" 0000:00:06.0 || status=$?
cat "$WORK/log"
[ $status -eq 1 ] || fail "the program ended with $status"
expect "softiommu: .*/program cannot be supervised \(Operation not permitted\)" "$WORK/log"
expect "iommu_group: No such file or directory" "$WORK/log"
[ "$(wc -l <"$WORK/log")" -eq 2 ] || fail "more than these two lines"
