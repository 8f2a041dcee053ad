#!/bin/sh
# finish.sh ROOT VERSION COMPATIBLE KEYRING - what makes a Debian with vfw the appliance: services, and nothing that belongs to
# one machine.
set -eu
root=$1 version=$2 compatible=$3 keyring=$4
echo vfw >"$root/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 vfw\n::1 localhost\n' >"$root/etc/hosts"
# The root is the one that GRUB has chosen.
echo "PARTUUID=76667700-0000-4000-8000-000000000012 /boot/efi vfat rw,sync,noatime,umask=0077,nofail 0 0" >"$root/etc/fstab"
mkdir -p "$root/boot/efi"
install -m 644 "$keyring" "$root/etc/rauc/keyring.pem"
sed -i "s/@COMPATIBLE@/$compatible/" "$root/etc/rauc/system.conf"
echo "VFW_APPLIANCE=$version" >"$root/etc/vfw-release"
ln -sf /run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"

# The rules of the package are an example; an appliance without rules forwards nothing.
rm -f "$root/etc/vfw/rules.fw"
for unit in vfw vfw-firstboot vfw-trial vfw-console systemd-networkd systemd-resolved systemd-timesyncd ssh; do
    systemctl --quiet --root="$root" enable "$unit"
done
systemctl --quiet --root="$root" mask getty-static.service apt-daily.timer apt-daily-upgrade.timer man-db.timer \
    e2scrub_all.timer e2scrub_reap.service
# The screen of the consoles is written by vfw-console.
: >"$root/etc/issue"
# Nobody has a password; who has a key logs in by SSH.
chroot "$root" passwd --quiet --lock root

# Made by each machine for itself.
rm -f "$root"/etc/ssh/ssh_host_* "$root/var/lib/dbus/machine-id" "$root/var/lib/systemd/random-seed"
: >"$root/etc/machine-id"
# Times of the build, and what apt fetches again.
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/cache/ldconfig/aux-cache "$root"/var/log/*.log \
    "$root"/var/log/apt "$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old "$root"/tmp/* "$root"/run/*
# Nothing has to be updated at the first boot.
touch -r "$root/usr" "$root/etc/.updated" "$root/var/.updated"
