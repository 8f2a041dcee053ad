#!/bin/sh
# Prints what works on this machine, as words on one line. What worked before an upgrade has to work after it.
works=
! systemctl --quiet is-active vfw || ! vfw show zones >/dev/null 2>&1 || works="$works vfw"
# Interfaces of vfw have no addresses in the kernel.
[ -z "$(ip -brief address show up scope global)" ] || works="$works management"
! systemctl --quiet is-active ssh || works="$works ssh"
echo $works
