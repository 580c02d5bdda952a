#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Linux's own iommufd tests, unmodified, on the mock IOMMU. usage: kernel_iommufd.sh iommufd|iommufd_fail_nth [OPTION...]
#
# kernel/expected-PROGRAM names the tests that must pass, those that skip themselves, and those that need huge pages. Tests
# that it does not name (of a newer kernel) are reported, whatever they do. Options go to the program (-t NAME). Exits
# with 77 if the tests cannot be had (no kernel source package).
here=$(dirname "${BASH_SOURCE[0]}")
. "$here/common.sh"

folder=$("$here/kernel/build-selftests.sh") || {
  echo "Linux's iommufd tests cannot be had here: skipped"
  exit 77
}
program=$1
shift
expected=$here/kernel/expected-$program

timeout 280 "$SOFTIOMMU" run --selftest -- "$folder/$program" "$@" >"$WORK/log" 2>&1 || true
expect '^# Totals:' "$WORK/log"
kernel_results "$WORK/log"
sed -nE 's/^([^# ]+).*/\1/p' "$expected" | sort >"$WORK/named"

# Without huge pages what needs them may fail.
sed -nE 's/^([^ ]+) huge$/\1/p' "$expected" | sort >"$WORK/huge"
free=$(sed -nE 's/^HugePages_Free: *([0-9]+)$/\1/p' /proc/meminfo)
if [ "${free:-0}" -ge 80 ]; then : >"$WORK/huge"; fi

bad=$(comm -12 "$WORK/failed" "$WORK/named" | comm -23 - "$WORK/huge")
[ -z "$bad" ] || { cat "$WORK/log" >&2 && fail "$program: $bad"; }
silent=$(comm -12 "$WORK/skipped" <(sed -nE 's/^([^# ]+)( huge)?$/\1/p' "$expected" | sort))
[ -z "$silent" ] || fail "$program: skipped, and should not be: $silent"
echo "$program: $(sed -n 's/^# Totals: //p' "$WORK/log")"
report() { [ -z "$2" ] || sed "s/^/  $1: /" <<<"$2"; }
report "skips itself" "$(comm -12 "$WORK/skipped" "$WORK/named")"
report "failed for want of huge pages" "$(comm -12 "$WORK/failed" "$WORK/huge")"
report "not expected by name, failed" "$(comm -23 "$WORK/failed" "$WORK/named")"
report "not expected by name, passed" "$(comm -23 "$WORK/passed" "$WORK/named")"
if [ $# -eq 0 ]; then
  sort "$WORK/passed" "$WORK/failed" "$WORK/skipped" >"$WORK/ran"
  report "no longer in this kernel" "$(comm -13 "$WORK/ran" "$WORK/named")"
fi
