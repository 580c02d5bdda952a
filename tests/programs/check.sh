#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# softiommu check: every driver keeps the contract; shards merge into what the whole would have said; exit statuses.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

work=$WORK

timeout 200 "$SOFTIOMMU" check --format json >"$work/whole.json" || fail "a driver breaks the contract: $(timeout 10 "$SOFTIOMMU" check --merge "$work/whole.json")"
timeout 10 "$SOFTIOMMU" check --merge "$work/whole.json" | tee "$work/whole.txt"
grep -q '^all  *[0-9]*,[0-9]* cases' "$work/whole.txt" || fail "the number of cases is not in the thousands"
[ "$(grep -c ' kept$' "$work/whole.txt")" -eq 8 ] || fail "not eight drivers"

for i in 1 2 3; do
  timeout 100 "$SOFTIOMMU" check --driver omap --sequences 5 --shard $i/3 --format json >"$work/$i.json"
done
timeout 100 "$SOFTIOMMU" check --driver omap --sequences 5 --jobs 1 --format json >"$work/omap.json"
timeout 10 "$SOFTIOMMU" check --merge "$work/3.json" "$work/1.json" "$work/2.json" --format json >"$work/merged.json"
cmp "$work/omap.json" "$work/merged.json" || fail "merged shards differ from the whole"
timeout 10 "$SOFTIOMMU" check --merge "$work/omap.json" --format html | grep -q '</html>' || fail "no page"
timeout 10 "$SOFTIOMMU" check --merge "$work/omap.json" --format junit | grep -q '</testsuites>' || fail "no junit report"

timeout 100 "$SOFTIOMMU" check --machine "$MACHINES/mixed.toml" --sequences 2 >/dev/null || fail "a machine file of ours"

expect_usage() {
  local status=0
  timeout 100 "$SOFTIOMMU" check "$@" >/dev/null 2>&1 || status=$?
  [ $status -eq 2 ] || fail "check $*: exit status $status, not 2"
}
expect_usage --driver nobody
expect_usage --machine "$work/none.toml"
expect_usage --shard 4/3
expect_usage --shard 0/3
expect_usage --format picture
expect_usage --driver omap --steps 'fly away'
expect_usage --merge "$work/whole.txt"
expect_usage --merge "$work/1.json" "$work/1.json"
