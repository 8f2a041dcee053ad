#!/bin/sh
# Keeps the screen of the consoles up to date: agetty(8) shows /run/issue.d and shows it again when it is told to.
screen=/run/issue.d/vfw.issue
mkdir -p /run/issue.d
. /etc/vfw-release

addresses() {
    ip -brief address show up | while read -r name _ list; do
        [ "$name" = lo ] || [ -z "$list" ] || echo "$name  $list"
    done
}

state() {
    case $(systemctl is-active vfw) in
    active) echo "forwards by /etc/vfw/rules.fw ($(vfw show zones --json | grep -c '"interface":') zones)" ;;
    activating) echo "vfw is starting" ;;
    *)
        if [ -e /etc/vfw/rules.fw ]; then
            echo "CLOSED: vfw does not run"
            journalctl --unit=vfw --boot --output=cat --lines=100 --no-pager | grep -v '^[A-Z][a-z]* vfw.service\|^vfw.service:' | tail -6
        else
            echo "CLOSED: there are no rules yet"
        fi
        ;;
    esac
}

next() {
    address=$(ip -brief -4 address show up scope global | awk '$1 != "lo" { split($3, part, "/"); print part[1]; exit }')
    if [ ! -e /etc/vfw/rules.fw ] && [ -s /root/.ssh/authorized_keys ] && [ -n "$address" ]; then
        echo "log in at this console as \`setup\` (no password) and answer its questions; or ssh root@$address, then: vfw setup"
    elif [ ! -e /etc/vfw/rules.fw ]; then
        echo "log in at this console as \`setup\` (no password) and answer its questions, or boot with a seed"
    elif [ -z "$address" ]; then
        echo "give the management interface (eth0) a network with DHCP, or a seed with an address"
    elif [ ! -s /root/.ssh/authorized_keys ]; then
        echo "nobody can log in: boot with a seed that has your SSH key"
    else
        echo "ssh root@$address; vfw show zones, vfw show drops; edit /etc/vfw/rules.fw, then: systemctl reload vfw"
    fi
}

list() { # TITLE: lines of standard input beside a title
    title=$1
    fold -s -w 67 | while IFS= read -r line; do
        printf '%-11s %s\n' "$title" "$line"
        title=
    done
}

while :; do
    {
        printf '\n  vfw appliance %s   %s   Linux %s\n\n' "$VFW_APPLIANCE" "$(hostname)" "$(uname -r)"
        addresses | list Addresses
        state | list State
        vfw-upgrade status | list Slots
        list Seed </run/vfw-seed/report
        next | list Next
        echo
    } | tr -d '\\' >$screen.new
    if cmp -s $screen.new $screen; then
        rm $screen.new
    else
        mv $screen.new $screen
        agetty --reload
    fi
    sleep 5
done
