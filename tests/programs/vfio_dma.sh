#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The plain VFIO program on a machine. usage: vfio_dma.sh MACHINE|default BDF root|user redirect|namespace|container
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
machine=$1 bdf=$2 who=$3 view=$4

on_machine "$machine" "$who" "$view" "$WORK/vfio_dma" "$bdf" || { cat "$WORK/log"; fail "vfio_dma failed"; }
expect "$bdf copied 4096 bytes" "$WORK/log"
