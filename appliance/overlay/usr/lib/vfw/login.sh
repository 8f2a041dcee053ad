#!/bin/sh
# login.sh -- NAME - what a console does with a name at its login prompt. `setup` is the first set-up, as long as there are no
# rules: a console asks for no password, so afterwards it changes nothing. Every other name logs in, which takes a password,
# and nobody has one.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
[ "$2" = setup ] || exec login "$@"

rules=/etc/vfw/rules.fw
seed=/run/vfw-seed/console

end() { # TEXT: the prompt comes again when it has been read
    printf '\n%s\nEnter goes on. ' "$1"
    read -r _
    exit
}

ask() { # QUESTION: prints the answer
    printf '%s: ' "$1" >&2
    IFS= read -r answer
    printf %s "$answer"
}

quote() { # TEXT: as YAML takes it
    printf "'%s'" "$(printf %s "$1" | sed "s/'/''/g")"
}

mark='# Answers at the console'

# Where no seed has said how the machine is reached, the answers become one.
is_asked() {
    if [ -e /var/lib/vfw/seed ]; then grep -q "^$mark" /var/lib/vfw/seed; else grep -q '^no seed' /run/vfw-seed/report; fi
}

ask_management() {
    echo "Management, on eth0"
    address=$(ask "  address, such as 192.0.2.10/24 (empty: DHCP)")
    gateway=
    [ -z "$address" ] || gateway=$(ask "  its router (empty: none)")
    key=$(ask "  SSH public key of root (empty: nobody can log in)")
    rm -rf $seed
    mkdir -p $seed
    {
        printf '#cloud-config\n%s\n' "$mark"
        [ -z "$key" ] || printf 'ssh_authorized_keys: [%s]\n' "$(quote "$key")"
    } >$seed/user-data
    [ -n "$address" ] || return 0
    printf 'version: 2\nethernets:\n  eth0:\n    addresses: [%s]\n' "$(quote "$address")" >$seed/network-config
    [ -z "$gateway" ] || printf '    routes: [{to: default, via: %s}]\n' "$(quote "$gateway")" >>$seed/network-config
}

# A seed is used once: the answers are tried where none was used.
try_management() {
    rm -rf /run/vfw-seed/try
    use_management /run/vfw-seed/try
}

use_management() { # ROOT: has firstboot write the answers below ROOT; fails when one of them is wrong
    report=$(/usr/lib/vfw/firstboot $seed "$1") || return 1
    ! printf '%s\n' "$report" | grep '^PROBLEM'
}

exec 9>/run/vfw-setup.lock
flock --nonblock 9 || end "The set-up is under way at another console."
[ ! -e $rules ] || end "There are rules already: log in by SSH to change them."

# Before there are rules: with them, and no way to log in, the machine would be lost.
if is_asked; then
    until ask_management && try_management; do
        echo "Once more, please."
    done
    use_management / || end "The management interface and the key could not be written: boot with a seed."
    { echo "set up at the console"; printf '%s\n' "$report"; } >/run/vfw-seed/report
    networkctl reload && networkctl reconfigure eth0
    echo
fi
# Ctrl-C ends the questions, and not what follows.
trap : INT QUIT HUP
vfw setup --first --management eth0 || end "No rules were written: nothing is forwarded."
systemctl start vfw || end "vfw does not run; the screen says why."
end "vfw forwards."
