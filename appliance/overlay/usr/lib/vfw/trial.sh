#!/bin/sh
# Run at each start. A slot on trial is kept when all works that worked before the upgrade, else the machine starts again, from
# the slot that was good.
. /usr/lib/vfw/slots.sh
. /etc/vfw-release
slot=$(running)

restart() {
    systemctl reboot
    # Also when systemd has stopped at something.
    sleep 300
    systemctl reboot --force --force
}

# One call, one write: GRUB never sees half of it.
keep() {
    grub-editenv $esp/grubenv set GOOD="$slot" ORDER="$slot $(other)" "${slot}_OK=1" "${slot}_TRY=0" "$@"
    cp $esp/grubenv $esp/grubenv.new
    mv $esp/grubenv.new $esp/grubenv.good
}

if ! mountpoint -q $esp && ! mount $esp; then
    echo "$esp cannot be mounted: no upgrade is possible"
    # GRUB has noted that this slot had its try.
    ! grep -qw vfw.trial /proc/cmdline || restart
    exit 1
fi
[ "$(version_of "$slot")" = "$VFW_APPLIANCE" ] || echo "$VFW_APPLIANCE" >"$esp/vfw/version-$slot"

if [ -z "$(boot_variable GOOD)" ]; then
    # Damaged, as by a loss of power during a write; GRUB has gone by the copy.
    echo "$esp/grubenv is damaged; its copy takes its place"
    cp $esp/grubenv.good $esp/grubenv
    [ -n "$(boot_variable GOOD)" ] || { grub-editenv $esp/grubenv create && keep "$(other)_OK=0"; }
fi
if [ "$slot" = "$(boot_variable GOOD)" ]; then
    if [ "$(boot_variable ORDER)" != "$slot $(other)" ] || { [ -n "$(last slot)" ] && [ -z "$(last outcome)" ]; }; then
        keep "$(other)_OK=0"
        [ -n "$(last outcome)" ] || end "went back: the machine was started again before it was found good"
    fi
    exit
fi

# What is missing of what worked before.
missing() {
    works=" $(sh /usr/lib/vfw/health.sh) "
    for what in $(last worked); do
        case $works in *" $what "*) ;; *) echo "$what" ;; esac
    done
}

# Three looks in a row, so that a vfw which starts again and again is not taken for one that runs.
good=0
why=
[ -n "$(last worked)" ] || why="nothing says what has to work"
until [ -n "$why" ] || [ $good = 3 ]; do
    sleep 3
    lost=$(missing | tr '\n' ' ')
    good=$((good + 1))
    [ -z "$lost" ] || good=0
    case $lost in *vfw*) ! systemctl --quiet is-failed vfw || why="vfw does not run" ;; esac
    [ -z "$lost" ] || [ "$(cut -d. -f1 /proc/uptime)" -lt 900 ] || why="after 15 minutes there is no ${lost% }"
done
if [ -z "$why" ]; then
    keep
    end "in use"
else
    end "went back: $why"
    journalctl --boot --no-pager --lines=2000 >$esp/vfw/failed.log
    restart
fi
