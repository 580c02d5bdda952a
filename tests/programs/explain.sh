#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# --explain says which domain a group got; --trace writes JSON with the kernel's event names.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

"$SOFTIOMMU" run --explain --trace "$WORK/trace.json" -- "$EXAMPLES/vfio_dma" 0000:00:06.0 >"$WORK/out" 2>"$WORK/explained"
expect 'group 2 \(0000:00:06.0\): attach to intel blocked domain [0-9]+: ok' "$WORK/explained"
expect 'group 2 \(0000:00:06.0\): attach to intel domain [0-9]+ \(fresh\): ok' "$WORK/explained"
if grep -q 'group' "$WORK/out"; then fail "the explanation is on standard output"; fi
python3 - "$WORK/trace.json" <<'PY'
import json, sys

events = json.load(open(sys.argv[1]))["traceEvents"]
names = {event["name"] for event in events}
missing = {"add_device_to_group", "attach_device_to_domain", "map", "unmap"} - names
assert not missing, f"events missing from the trace: {missing}"
tracks = {event["args"]["name"] for event in events if event["name"] == "thread_name"}
assert len(tracks) >= 3, f"tracks: {tracks}"
PY
