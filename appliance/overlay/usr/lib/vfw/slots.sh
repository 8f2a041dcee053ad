# What the scripts for upgrades have in common. The state of an upgrade is on the EFI system partition, which both slots see:
# the variables of GRUB in grubenv, the version in each slot, and the last upgrade as lines KEY=VALUE:
#   slot, version   what it put where
#   worked          what health.sh found before it
#   outcome         how it ended; not there while it is on trial
esp=/boot/efi

running() { sed -n 's/.*rauc\.slot=\([AB]\).*/\1/p' /proc/cmdline; }

other() { [ "$(running)" = A ] && echo B || echo A; }

boot_variable() { grub-editenv $esp/grubenv list | sed -n "s/^$1=//p"; } # NAME

version_of() { # SLOT: nothing when there is nothing in it that could start
    [ "$(boot_variable "$1_OK")" != 1 ] || cat "$esp/vfw/version-$1"
}

last() { sed -n "s/^$1=//p" $esp/vfw/upgrade 2>/dev/null; } # KEY

begin() { # SLOT VERSION WORKED: an upgrade is on trial from now on; fails when nothing could be looked for in it
    [ -n "$3" ] || return 1
    rm -f $esp/vfw/failed.log
    printf 'slot=%s\nversion=%s\nworked=%s\n' "$1" "$2" "$3" >$esp/vfw/upgrade
}

end() { # OUTCOME
    { grep -v '^outcome=' $esp/vfw/upgrade; echo "outcome=$1"; } >$esp/vfw/upgrade.new
    mv $esp/vfw/upgrade.new $esp/vfw/upgrade
    echo "upgrade to vfw $(last version) in slot $(last slot): $1"
}
