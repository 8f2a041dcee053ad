#!/bin/sh
# deb.sh [PROFILE [FOLDER]] - builds vfw and its Debian package, FOLDER/vfw_VERSION_ARCH.deb. PROFILE is cargo's; release
# without; FOLDER is made anew, target/deb without.
# The same commit and tools give the same bytes.
set -eu
cd "$(dirname "$0")/.."
profile=${1:-release}
out=${2:-target/deb}
built=target/$profile
[ "$profile" != dev ] || built=target/debug

need=
for tool in dh:debhelper dpkg-shlibdeps:dpkg-dev strip:binutils; do
    command -v "${tool%:*}" >/dev/null || need="$need ${tool#*:}"
done
[ -z "$need" ] || { echo "deb.sh: install first: apt-get install$need" >&2; exit 1; }

cargo build --quiet --locked --profile "$profile" -p vfw -p vfw-packaging
version=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"/\1/p' Cargo.toml)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH

stage=$out/vfw
rm -rf "$out"
mkdir -p "$stage/examples" "$stage/docs"
cp -r packaging/debian packaging/vfw.toml "$stage/"
cp rules/examples/two-tier.fw "$stage/rules.fw"
cp rules/examples/*.fw "$stage/examples/"
cp -r docs/*.md docs/platforms "$stage/docs/"
cp "$built/vfw" "$stage/vfw"
"$built/vfw-manual" "$stage"
cat >"$stage/debian/changelog" <<END
vfw ($version) stable; urgency=medium

  * Version $version; its history is in the repository.

 -- vfw maintainers <maintainers@vfw.invalid>  $(date -u -R -d "@$SOURCE_DATE_EPOCH")
END
(cd "$stage" && debian/rules binary >../log 2>&1) || { cat "$out/log" >&2; exit 1; }
ls "$out"/*.deb
