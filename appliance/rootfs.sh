#!/bin/sh
# rootfs.sh FOLDER KERNEL - prints the path of a tar archive with Debian trixie, the packages of `packages` and the kernel package
# KERNEL, made when it is not in FOLDER yet. Its name is a key of what goes into it: this script, the list, the kernel, and the
# state of the archive (MIRROR).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache=$1 kernel=$2
mirror=${MIRROR:-http://deb.debian.org/debian}
security=${SECURITY_MIRROR:-http://deb.debian.org/debian-security}
suite=trixie

# Dates of the suites: what the archive holds is another after each of them.
state() {
    release=$(wget -qO- "$1") || return 1
    echo "$release" | sed -n '/^\(Suite\|Date\):/p' | grep .
}
dates=$(state "$mirror/dists/$suite/InRelease" && state "$security/dists/$suite-security/InRelease") ||
    { echo "rootfs.sh: cannot read $mirror; set MIRROR and SECURITY_MIRROR" >&2; exit 1; }
key=$(cat "$here/rootfs.sh" "$here/packages" - <<END | sha256sum | cut -c1-16
$kernel $mirror $security $dates
END
)
base=$cache/base-$suite-$key.tar
if [ ! -e "$base" ]; then
    echo "rootfs.sh: Debian $suite with $kernel into $base" >&2
    mkdir -p "$cache"
    packages=$(sed 's/#.*//' "$here/packages" | tr -s '\n' ',' | sed 's/^,//; s/,$//')
    # The build must not depend on its day: the youngest of the dates.
    SOURCE_DATE_EPOCH=$(echo "$dates" | sed -n 's/^Date: //p' | while read -r date; do date -d "$date" +%s; done | sort -n | tail -1)
    export SOURCE_DATE_EPOCH
    # The first file system checks the root, whichever of the two it is.
    mmdebstrap --quiet --mode=root --variant=minbase --format=tar --include="$kernel,$packages" \
        --essential-hook='mkdir -p "$1/etc/initramfs-tools/conf.d" && echo FSTYPE=ext4 >"$1/etc/initramfs-tools/conf.d/vfw"' \
        --aptopt='Apt::Install-Recommends "false"' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        --dpkgopt='path-exclude=/usr/share/info/*' \
        --dpkgopt='path-exclude=/usr/*bin/grub-*' --dpkgopt='path-include=/usr/bin/grub-editenv' \
        --dpkgopt='path-exclude=/usr/lib/systemd/system/grub-*' --dpkgopt='path-exclude=/usr/share/grub/*' \
        --dpkgopt='path-exclude=/etc/*/grub-common' --dpkgopt='path-exclude=/etc/grub.d/*' \
        "$suite" "$base.part" \
        "deb $mirror $suite main" "deb $mirror $suite-updates main" "deb $security $suite-security main" >&2
    mv "$base.part" "$base"
fi
echo "$base"
