#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Unpacks Debian's cloud kernel into the cache folder and prints where its vmlinuz is; downloads the package first if it
# is not there. NVMe, ext4 and the IOMMU drivers are built into that kernel: a guest needs no modules.
# Exits with 3 if there is no such package to be had.
set -euo pipefail
cache=${XDG_CACHE_HOME:-$HOME/.cache}/softiommu/guest
mkdir -p "$cache"

found() { find "$cache" -maxdepth 1 -name 'vmlinuz-*' | sort -V | tail -n 1; }

kernel=$(found)
if [ -z "$kernel" ]; then
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || { echo "${0##*/}: no apt here" >&2 && exit 3; }
  package_now() { apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -nE 's/^ *Depends: (linux-image-[^ ]+)$/\1/p'; }
  package=$(package_now)
  if [ -z "$package" ] && [ "$(id -u)" -eq 0 ]; then  # apt's lists may never have been fetched
    apt-get -qq update >&2 || true
    package=$(package_now)
  fi
  [ -n "$package" ] || { echo "${0##*/}: apt knows no linux-image-cloud-amd64" >&2 && exit 3; }
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  (cd "$work" && apt-get -o APT::Sandbox::User=root -qq download "$package" >&2) ||
    { echo "${0##*/}: $package could not be downloaded" >&2 && exit 3; }
  dpkg-deb --fsys-tarfile "$work/$package"_*.deb | tar -x -C "$work" --wildcards './boot/vmlinuz-*'
  mv "$work"/boot/vmlinuz-* "$cache/"
  kernel=$(found)
fi
echo "$kernel"
