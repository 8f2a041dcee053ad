#!/bin/sh
# Finds the seed, a volume that the hypervisor hands over, and has it used. Whatever is wrong with it, the machine goes on to
# boot: with DHCP on its management interface, and closed.
report=/run/vfw-seed/report
mkdir -p /run/vfw-seed/volume
udevadm settle --timeout=20

for label in cidata CIDATA "OVF ENV"; do
    device=$(blkid -L "$label") && break
done
if [ -z "$device" ] && [ -e /var/lib/vfw/seed ]; then
    echo "no seed now: what the last one said stays" >$report
elif [ -z "$device" ]; then
    echo "no seed: DHCP on eth0" >$report
elif ! mount -o ro,nodev,nosuid,noexec "$device" /run/vfw-seed/volume 2>$report.mount; then
    echo "PROBLEM: the seed on $device cannot be mounted: $(tail -1 $report.mount)" >$report
else
    /usr/lib/vfw/firstboot /run/vfw-seed/volume / >$report 2>&1 || echo "PROBLEM: the seed was not used" >>$report
    umount /run/vfw-seed/volume
fi
cat $report
hostname -F /etc/hostname
# Each machine has keys of its own.
ssh-keygen -A >/dev/null
