# SPDX-License-Identifier: BSD-3-Clause
# What the scripts of this folder share (sourced, not run): where sources, objects and programs of the peers are kept.
#   PEERS_WORK   the cache folder (default: softiommu/peers in the user's cache; about 1 GiB)
#   JOBS         how many compilers run at once
# shellcheck shell=bash disable=SC2034
set -euo pipefail
PEERS_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PEERS_WORK=${PEERS_WORK:-${XDG_CACHE_HOME:-$HOME/.cache}/softiommu/peers}
JOBS=${JOBS:-$(nproc)}
mkdir -p "$PEERS_WORK"

die() {
  echo "${0##*/}: $*" >&2
  exit 1
}
