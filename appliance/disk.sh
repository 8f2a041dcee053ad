#!/bin/sh
# disk.sh BASE.TAR VFW.DEB FIRSTBOOT VERSION COMPATIBLE KEYRING OUT.qcow2 OUT.ext4 - makes the disk of the appliance, without
# loop devices or mounts, and its root alone. COMPATIBLE names the product whose upgrades it takes.
#
# GPT: BIOS boot partition with GRUB's core, EFI system partition with GRUB and its configuration, two roots (ext4): slot A and
# slot B, in which nothing is yet.
# Every time and identifier in it is fixed: SOURCE_DATE_EPOCH, and the UUIDs below.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
base=$1 deb=$2 firstboot=$3 version=$4 compatible=$5 keyring=$6 out=$7 root=$8
: "${SOURCE_DATE_EPOCH:?}"
root_uuid=76667700-0000-4000-8000-000000000001
slot_a=76667700-0000-4000-8000-00000000000a slot_b=76667700-0000-4000-8000-00000000000b
esp_id=76667702
esp_start=2 esp_mib=64
root_start=$((esp_start + esp_mib)) root_mib=1024
disk_mib=$((root_start + 2 * root_mib + 1))
work=$out.work
rm -rf "$work"
mkdir -p "$work/root" "$work/efi"

# The files
tar -C "$work/root" --numeric-owner -xf "$base"
cp "$deb" "$work/root/vfw.deb"
chroot "$work/root" dpkg --install /vfw.deb >"$work/log" || { cat "$work/log" >&2; exit 1; }
rm "$work/root/vfw.deb"
cp -r "$here/overlay/." "$work/root/"
install -m 755 "$firstboot" "$work/root/usr/lib/vfw/firstboot"
sh "$here/finish.sh" "$work/root" "$version" "$compatible" "$keyring"
find "$work/root" -newermt "@$SOURCE_DATE_EPOCH" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

# A root: in the order of names, with the times of the files
sh "$here/ext4.sh" "$work/root" "$root" "$root_mib" $root_uuid

# GRUB for both firmwares. It finds the EFI system partition by the number of its file system.
cat >"$work/early.cfg" <<END
search --no-floppy --fs-uuid --set=esp 7666-7702
configfile (\$esp)/grub.cfg
END
modules="part_gpt fat ext2 search search_fs_uuid normal configfile loadenv regexp linux serial terminal echo test minicmd reboot halt gzio"
grub-mkimage -O i386-pc -o "$work/core.img" -c "$work/early.cfg" -p / $modules biosdisk
grub-mkimage -O x86_64-efi -o "$work/efi/bootx64.efi" -c "$work/early.cfg" -p / $modules efi_gop
sed "s/@ESP@/7666-7702/; s/@ROOT_A@/$slot_a/; s/@ROOT_B@/$slot_b/" "$here/grub.cfg" >"$work/efi/grub.cfg"
grub-editenv "$work/efi/grubenv" create
grub-editenv "$work/efi/grubenv" set GOOD=A ORDER="A B" A_OK=1 A_TRY=0 B_OK=0 B_TRY=0
cp "$work/efi/grubenv" "$work/efi/grubenv.good"
echo "$version" >"$work/efi/version-A"
find "$work/efi" -exec touch -d "@$SOURCE_DATE_EPOCH" {} +

# The EFI system partition
truncate -s ${esp_mib}M "$work/esp.img"
mkfs.vfat --invariant -F 32 -i $esp_id -n VFW-ESP "$work/esp.img" >/dev/null
mmd -i "$work/esp.img" ::/EFI ::/EFI/BOOT ::/vfw
mcopy -m -i "$work/esp.img" "$work/efi/bootx64.efi" ::/EFI/BOOT/BOOTX64.EFI
mcopy -m -i "$work/esp.img" "$work/efi/grub.cfg" "$work/efi/grubenv" "$work/efi/grubenv.good" ::/
mcopy -m -i "$work/esp.img" "$work/efi/version-A" ::/vfw/

# The disk
truncate -s ${disk_mib}M "$work/disk.img"
sfdisk --quiet "$work/disk.img" <<END
label: gpt
label-id: 76667700-0000-4000-8000-000000000000
unit: sectors
start=1MiB, size=1MiB, type=21686148-6449-6E6F-744E-656564454649, uuid=76667700-0000-4000-8000-000000000011, name="bios"
start=${esp_start}MiB, size=${esp_mib}MiB, type=uefi, uuid=76667700-0000-4000-8000-000000000012, name="esp"
start=${root_start}MiB, size=${root_mib}MiB, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, uuid=$slot_a, name="slot-a"
start=$((root_start + root_mib))MiB, size=${root_mib}MiB, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, uuid=$slot_b, name="slot-b"
END
dd if="$work/esp.img" of="$work/disk.img" bs=1M seek=$esp_start conv=notrunc,sparse status=none
dd if="$root" of="$work/disk.img" bs=1M seek=$root_start conv=notrunc,sparse status=none
python3 "$here/grub-bios.py" "$work/disk.img" /usr/lib/grub/i386-pc/boot.img "$work/core.img" 2048
qemu-img convert -m 1 -c -o compression_type=zlib -O qcow2 "$work/disk.img" "$out.part"
mv "$out.part" "$out"
rm -rf "$work"
