#!/bin/sh
# build.sh [FOLDER] - makes the appliance in FOLDER (target/appliance): vfw-VERSION.qcow2, vfw-VERSION.ova, the
# upgrade vfw-VERSION.raucb and their checksums, vfw-VERSION.sha256.
# FLAVOUR=full builds vfw-VERSION-full.* with the kernel that has drivers of network cards, in place of that for clouds.
# VFW_PROFILE chooses cargo's profile (release without); MIRROR and SECURITY_MIRROR choose Debian archives; UPGRADE_KEY,
# UPGRADE_CERT and UPGRADE_KEYRING who signs upgrades (key.sh).
set -eu
cd "$(dirname "$0")/.."
profile=${VFW_PROFILE:-release}
built=target/$profile
[ "$profile" != dev ] || built=target/debug
out=${1:-target/appliance}
# An upgrade is for one flavour: without the drivers of its network cards a machine would forward nothing.
case ${FLAVOUR:-} in
"") kernel=linux-image-cloud-amd64 compatible=vfw-appliance-amd64 ;;
full) kernel=linux-image-amd64 compatible=vfw-appliance-full-amd64 ;;
*) echo "build.sh: FLAVOUR=$FLAVOUR is not known; it can be full, or not set" >&2; exit 1 ;;
esac

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
base=$(sh appliance/rootfs.sh "${APPLIANCE_CACHE:-target/appliance-cache}" $kernel)
mkdir -p $out
name=vfw-$version${FLAVOUR:+-$FLAVOUR}
sh appliance/disk.sh "$base" "$deb" "$built/firstboot" "$version" $compatible "$UPGRADE_KEYRING" \
    "$out/$name.qcow2" "$out/$name.ext4"
sh appliance/bundle.sh "$out/$name.ext4" "$version" $compatible "$out/$name.raucb"
rm "$out/$name.ext4"
sh appliance/ova.sh "$out/$name.qcow2" "$version" "$out/$name.ova"
for file in "$out/$name.qcow2" "$out/$name.ova"; do
    [ "$(stat -c %s "$file")" -lt 250000000 ] || { echo "build.sh: $file is larger than 250 MB" >&2; exit 1; }
done
(cd $out && sha256sum "$name.qcow2" "$name.ova" "$name.raucb" >"$name.sha256")
ls -lh $out/$name.*
