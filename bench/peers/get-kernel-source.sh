#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Unpacks a Debian kernel source package into the cache folder and prints where; downloads it first if it is not there.
# usage: get-kernel-source.sh VERSION      6.12, or 7.x: the newest linux-source-7.* that can be found
#
# The suites that are configured come first, then sid and trixie-backports (PEERS_SUITES names others). For these apt
# gets a sources file and lists of its own, derived from the machine's Debian entries: its configuration is not touched.
# Exits with 3 if there is no such package to be had.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[ $# -eq 1 ] || die "usage: ${0##*/} VERSION"
version=$1
dest=$PEERS_WORK/linux-$version
if [ -e "$dest/.unpacked" ]; then
  echo "$dest"
  exit 0
fi
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || { echo "${0##*/}: no apt here" >&2 && exit 3; }
own=(-o APT::Sandbox::User=root)
apt_options=("${own[@]}")
downloads=$PEERS_WORK/download
mkdir -p "$downloads"

# The newest package of that version which apt, with the present options, can download. Answers are kept before they are
# searched: grep -q ends at the first match, which would fail the pipe.
find_package() {
  local name names policy pattern=$version
  [[ $version != *.x ]] || pattern=${version%x}
  names=$(apt-cache "${apt_options[@]}" pkgnames "linux-source-$pattern")
  for name in $(grep -E '^linux-source-[0-9]+\.[0-9]+$' <<<"$names" | sort -rV); do
    [[ $version == *.x || $name == "linux-source-$version" ]] || continue
    policy=$(apt-cache "${apt_options[@]}" policy "$name")
    if grep -qE '^ *Candidate: *[0-9]' <<<"$policy"; then
      echo "$name"
      return
    fi
  done
}

# Sources (deb822) of suite $1: this machine's Debian entries, the installed release replaced.
sources_for_suite() {
  python3 - "$1" <<'PY'
import glob, re, sys

release = dict(line.strip().split("=", 1) for line in open("/etc/os-release") if "=" in line)
codename = release["VERSION_CODENAME"].strip('"')
found = {}
for name in sorted(glob.glob("/etc/apt/sources.list.d/*.sources")):
    for stanza in re.split(r"\n\s*\n", open(name).read()):
        field = dict(re.findall(r"^([\w-]+):[ \t]*(.+)$", re.sub(r"(?m)^#.*\n", "", stanza + "\n"), re.M))
        if codename in field.get("Suites", "").split() and field.get("Enabled", "yes") != "no":
            for uri in field.get("URIs", "").split():
                found.setdefault(uri, field.get("Signed-By"))
for name in glob.glob("/etc/apt/sources.list") + sorted(glob.glob("/etc/apt/sources.list.d/*.list")):
    for options, uri, suite in re.findall(r"^deb\s+(\[[^]]*\]\s+)?(\S+)\s+(\S+)", open(name).read(), re.M):
        if suite == codename:
            key = re.search(r"signed-by=([^\s\]]+)", options or "")
            found.setdefault(uri, key and key.group(1))
for uri, key in found.items():
    key = key or "/usr/share/keyrings/debian-archive-keyring.gpg"
    print(f"Types: deb\nURIs: {uri}\nSuites: {sys.argv[1]}\nComponents: main\nSigned-By: {key}\n")
PY
}

# Lets apt look into suite $1, with lists and a cache in the work folder.
use_suite() {
  local root=$PEERS_WORK/apt/$1
  mkdir -p "$root/lists/partial" "$root/cache/archives/partial"
  sources_for_suite "$1" >"$root/debian.sources"
  [ -s "$root/debian.sources" ] || return 1
  apt_options=("${own[@]}" -o "Dir::Etc::SourceList=$root/debian.sources" -o Dir::Etc::SourceParts=/dev/null
    -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null -o "Dir::State::Lists=$root/lists"
    -o "Dir::Cache=$root/cache" -o Acquire::Languages=none)
  apt-get "${apt_options[@]}" -qq update >"$root/update.log" 2>&1
}

package=$(find_package)
for suite in ${PEERS_SUITES:-sid trixie-backports}; do
  [ -z "$package" ] || break
  if use_suite "$suite"; then package=$(find_package); fi
done
[ -n "$package" ] || { echo "${0##*/}: no package linux-source-$version to be had" >&2 && exit 3; }
echo "downloading $package" >&2
rm -f "$downloads/${package}"_*.deb
(cd "$downloads" && apt-get "${apt_options[@]}" -qq download "$package" >&2) ||
  { echo "${0##*/}: $package could not be downloaded" >&2 && exit 3; }
deb=$(ls "$downloads/${package}"_*.deb)

# What building single objects and the VFIO tests takes. The configuration tools read all Kconfig files and the build all make files.
needed=('*/Makefile*' '*/Kbuild*' '*/Kconfig*' "$package/kernel/*.[chS]" "$package/drivers/dma/*.h"
  "$package/drivers/pci/*.h" "$package/mm/*.h" "$package/*/COPYING" "$package/tools/testing/selftests/*.h")
for path in arch/x86 include scripts lib usr drivers/iommu kernel/time kernel/configs tools/arch tools/build \
  tools/include tools/lib tools/objtool tools/bpf/resolve_btfids tools/scripts tools/testing/selftests/vfio; do
  needed+=("$package/$path/*")
done
echo "unpacking $package" >&2
rm -rf "$dest"
mkdir -p "$dest"
# A pattern that another one covers is reported as not found: what counts is whether the source is there.
dpkg-deb --fsys-tarfile "$deb" | tar -xO "./usr/src/$package.tar.xz" |
  tar -xJ -C "$dest" --strip-components=1 --wildcards --wildcards-match-slash "${needed[@]}" 2>"$PEERS_WORK/unpack.log" ||
  true
[ -e "$dest/drivers/iommu/iommu.c" ] || { tail -n 5 "$PEERS_WORK/unpack.log" >&2 && die "$package holds no kernel source"; }
basename "$deb" >"$dest/.unpacked"
rm -f "$deb"
echo "$dest"
