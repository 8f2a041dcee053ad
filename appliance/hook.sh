#!/bin/sh
# Part of an upgrade: run by RAUC on the old system when the new root is written and mounted. Takes over what belongs to this
# machine, and gives up when the new vfw does not take its rules. Lines with `upgrade:` are shown to who upgrades.
set -eu
[ "$1" = slot-post-install ]
new=$RAUC_SLOT_MOUNT_POINT
. /usr/lib/vfw/slots.sh
# shellcheck disable=SC1091
. "$new/etc/vfw-release"

cd /
extra=
[ ! -e etc/vfw/keep ] || extra=$(sed 's/#.*//; s#^/*##' etc/vfw/keep)
for path in $(cat "$new/usr/lib/vfw/keep") $extra; do
    [ -e "$path" ] || continue
    rm -rf "${new:?}/$path"
    cp -a --parents "$path" "$new/"
done
usermod --root "$new" --password "$(getent shadow root | cut -d: -f2)" root

worked=$(sh "$new/usr/lib/vfw/health.sh")
case " $worked " in *" vfw "*)
    if ! said=$(chroot "$new" vfw check --config /etc/vfw/vfw.toml /etc/vfw/rules.fw 2>&1); then
        echo "$said" | sed 's/^/upgrade: /'
        echo "upgrade: vfw $VFW_APPLIANCE does not take the rules of this machine"
        exit 1
    fi
    ;;
esac
echo "$VFW_APPLIANCE" >"$esp/vfw/version-$RAUC_SLOT_BOOTNAME"
if ! begin "$RAUC_SLOT_BOOTNAME" "$VFW_APPLIANCE" "$worked"; then
    echo "upgrade: nothing works on this machine that could be looked for after the upgrade: see systemctl status vfw ssh"
    exit 1
fi
echo "upgrade: vfw $VFW_APPLIANCE is in slot $RAUC_SLOT_BOOTNAME, with the configuration of this machine"
