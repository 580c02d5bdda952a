#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A client program that was written for real hardware. usage: client.sh PROGRAM MACHINE|default BDF
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
program=$1 machine=$2 bdf=$3

options=()
[ "$machine" = default ] || options+=(--machine "$MACHINES/$machine.toml")
status=0
timeout 120 "$SOFTIOMMU" run "${options[@]}" -- "$PROGRAMS/$program" "$bdf" >"$WORK/log" 2>&1 || status=$?
cat "$WORK/log"
[ $status -ne 77 ] || exit 77
[ $status -eq 0 ] || fail "$program ended with $status"
