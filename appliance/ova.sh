#!/bin/sh
# ova.sh DISK.qcow2 VERSION OUT.ova - packs the disk for ESXi, vSphere and VirtualBox: description, checksums, disk.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
disk=$1 version=$2 out=$3
: "${SOURCE_DATE_EPOCH:?}"
work=$out.work
rm -rf "$work"
mkdir -p "$work"
name=$(basename "$out" .ova)
qemu-img convert -O raw "$disk" "$work/disk.raw"
python3 "$here/vmdk.py" "$work/disk.raw" "$work/$name-disk1.vmdk"
sed "s/@VERSION@/$version/g; s/@DISK@/$name-disk1.vmdk/; s/@SIZE@/$(stat -c %s "$work/$name-disk1.vmdk")/
     s/@CAPACITY@/$(stat -c %s "$work/disk.raw")/" "$here/vfw.ovf" >"$work/$name.ovf"
cd "$work"
for file in "$name.ovf" "$name-disk1.vmdk"; do
    echo "SHA256($file)= $(sha256sum "$file" | cut -d' ' -f1)"
done >"$name.mf"
# The description comes first, then its checksums (DSP0243, 5.3).
tar --format=ustar --owner=0 --group=0 --numeric-owner --mode=644 --mtime="@$SOURCE_DATE_EPOCH" \
    -cf "../$(basename "$out").part" "$name.ovf" "$name.mf" "$name-disk1.vmdk"
cd - >/dev/null
mv "$out.part" "$out"
rm -rf "$work"
