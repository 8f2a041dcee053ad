#!/bin/sh
# Run at each start. A slot on trial is kept when all works that worked before the upgrade, else the machine starts again, from
# the slot that was good.
. /usr/lib/vfw/slots.sh
. /etc/vfw-release
slot=$(running)
[ "$(version_of "$slot")" = "$VFW_APPLIANCE" ] || echo "$VFW_APPLIANCE" >"$esp/vfw/version-$slot"

# One call, one write: GRUB never sees half of it.
keep() { grub-editenv $esp/grubenv set GOOD="$slot" ORDER="$slot $(other)" "${slot}_OK=1" "${slot}_TRY=0" "$@"; }

known=$(boot_variable GOOD)
if [ -z "$known" ]; then
    # Damaged, as by a loss of power during a write; GRUB has taken what it takes then.
    mountpoint -q $esp || { echo "$esp is not mounted"; exit 1; }
    grub-editenv $esp/grubenv create && keep "$(other)_OK=0"
    echo "grubenv was damaged and is made anew; slot $slot runs"
    exit
fi
if [ "$slot" = "$known" ]; then
    if [ "$(boot_variable ORDER)" != "$slot $(other)" ]; then
        keep "$(other)_OK=0"
        [ -n "$(last outcome)" ] || end "went back: it did not come up, and could not say why"
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
    systemctl reboot
fi
