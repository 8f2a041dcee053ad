#!/bin/sh
# bundle.sh ROOT.ext4 VERSION COMPATIBLE OUT.raucb - packs and signs a root as an upgrade, with UPGRADE_KEY and UPGRADE_CERT.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$1 version=$2 compatible=$3 out=$4
: "${SOURCE_DATE_EPOCH:?}" "${UPGRADE_KEY:?}" "${UPGRADE_CERT:?}"
work=$out.work
rm -rf "$work"
mkdir -p "$work"
ln "$root" "$work/rootfs.ext4" 2>/dev/null || cp --sparse=always "$root" "$work/rootfs.ext4"
install -m 755 "$here/hook.sh" "$work/hook.sh"
cat >"$work/manifest.raucm" <<END
[update]
compatible=$compatible
version=$version

[bundle]
format=verity

[hooks]
filename=hook.sh

[image.rootfs]
filename=rootfs.ext4
hooks=post-install
END
rm -f "$out.part"
rauc --cert="$UPGRADE_CERT" --key="$UPGRADE_KEY" bundle \
    --mksquashfs-args="-comp zstd -Xcompression-level 9 -b 256K -no-progress -quiet" \
    "$work" "$out.part" >"$out.log" 2>&1 || { cat "$out.log" >&2; exit 1; }
mv "$out.part" "$out"
rm -rf "$work" "$out.log"
