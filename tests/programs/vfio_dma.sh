#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The plain VFIO program on a machine. usage: vfio_dma.sh MACHINE|default BDF root|user redirect|namespace|container
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
machine=$1 bdf=$2 who=$3 view=$4

public_copy
options=()
[ "$machine" = default ] || options+=(--machine "$WORK/machines/$machine.toml")
prefix=()
case $view in
  container) prefix=("$WORK/container_seccomp") && options+=(--view redirect) ;;
  *) options+=(--view "$view") ;;
esac
command=("${prefix[@]}" "$WORK/softiommu" run "${options[@]}" -- "$WORK/vfio_dma" "$bdf")
if [ "$who" = user ]; then
  as_user timeout 60 "${command[@]}" >"$WORK/log" 2>&1 || { cat "$WORK/log"; fail "exit status $?"; }
else
  timeout 60 "${command[@]}" >"$WORK/log" 2>&1 || { cat "$WORK/log"; fail "exit status $?"; }
fi
expect "$bdf copied 4096 bytes" "$WORK/log"
