#!/bin/sh
# build.sh [FOLDER] - makes the appliance in FOLDER (target/appliance): vfw-VERSION.qcow2, vfw-VERSION.ova, the
# upgrade vfw-VERSION.raucb and SHA256SUMS.
# VFW_PROFILE chooses cargo's profile (release without); MIRROR and SECURITY_MIRROR choose Debian archives; UPGRADE_KEY,
# UPGRADE_CERT and UPGRADE_KEYRING who signs upgrades (key.sh).
set -eu
cd "$(dirname "$0")/.."
profile=${VFW_PROFILE:-release}
built=target/$profile
[ "$profile" != dev ] || built=target/debug
out=${1:-target/appliance}

need=
for tool in mmdebstrap:mmdebstrap qemu-img:qemu-utils mkfs.vfat:dosfstools mcopy:mtools sfdisk:fdisk mke2fs:e2fsprogs \
    grub-mkimage:grub-common wget:wget rauc:rauc mksquashfs:squashfs-tools openssl:openssl; do
    command -v "${tool%:*}" >/dev/null || need="$need ${tool#*:}"
done
[ -e /usr/lib/grub/i386-pc/boot.img ] || need="$need grub-pc-bin"
[ -e /usr/lib/grub/x86_64-efi/moddep.lst ] || need="$need grub-efi-amd64-bin"
[ -z "$need" ] || { echo "build.sh: install first: apt-get install$need" >&2; exit 1; }
[ "$(id -u)" = 0 ] || { echo "build.sh: files of the image belong to root; run as root" >&2; exit 1; }

SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
deb=$(packaging/deb.sh "$profile" "$out/deb")
cargo build --quiet --locked --profile "$profile" -p vfw-firstboot
version=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"/\1/p' Cargo.toml)
. appliance/key.sh
base=$(sh appliance/rootfs.sh "${APPLIANCE_CACHE:-target/appliance-cache}")
mkdir -p $out
name=vfw-$version
sh appliance/disk.sh "$base" "$deb" "$built/firstboot" "$version" "$UPGRADE_KEYRING" "$out/$name.qcow2" "$out/$name.ext4"
sh appliance/bundle.sh "$out/$name.ext4" "$version" "$out/$name.raucb"
rm "$out/$name.ext4"
sh appliance/ova.sh "$out/$name.qcow2" "$version" "$out/$name.ova"
(cd $out && sha256sum "$name.qcow2" "$name.ova" "$name.raucb" >SHA256SUMS)
ls -lh $out/$name.* $out/SHA256SUMS
