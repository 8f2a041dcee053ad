#!/bin/sh
# fetch-kernel.sh SUITE PACKAGE FOLDER - unpacks the newest kernel of a metapackage of Debian below FOLDER, its modules
# uncompressed, and prints where. What is there already is not fetched again.
set -eu
suite=$1 package=$2
mkdir -p "$3"
cache=$(cd "$3" && pwd)
apt=$(mktemp -d)
trap 'rm -rf "$apt"' EXIT
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
: >"$apt/status"
mirror=${MIRROR:-http://deb.debian.org/debian}
security=${SECURITY_MIRROR:-http://deb.debian.org/debian-security}
signed=signed-by=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [$signed] $mirror $suite main" >"$apt/sources"
case $suite in
*-backports) ;;
*) echo "deb [$signed] $security $suite-security main" >>"$apt/sources" ;;
esac
options="-o Dir::Etc::sourcelist=$apt/sources -o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists=$apt/lists
    -o Dir::Cache=$apt/cache -o Dir::State::status=$apt/status -o APT::Architecture=amd64 -o APT::Sandbox::User=root"
# shellcheck disable=SC2086
apt-get $options update -qq >&2
# What a package needs whose name begins with one of these words.
needs() {
    # shellcheck disable=SC2086
    apt-cache $options show --no-all-versions "$1" | sed -n 's/^Depends: //p' | tr ',' '\n' | sed 's/^ *//; s/ .*//' | grep -E "^($2)-"
}
kernel=$(needs "$package" linux-image | head -1)
[ -n "$kernel" ] || { echo "fetch-kernel.sh: $suite has no $package" >&2; exit 1; }
root=$cache/$kernel
if [ ! -e "$root" ]; then
    mkdir "$apt/root"
    # Since 7.0 the kernel and its modules are packages of their own.
    # shellcheck disable=SC2046,SC2086
    (cd "$apt" && apt-get $options download -qq "$kernel" $(needs "$kernel" 'linux-binary|linux-modules') >&2)
    for part in "$apt"/linux-*.deb; do dpkg-deb -x "$part" "$apt/root"; done
    [ -e "$apt/root/lib" ] || ln -s usr/lib "$apt/root/lib"
    find "$apt/root/" -name '*.ko.xz' -exec unxz {} +
    /usr/sbin/depmod -b "$apt/root" "$(ls "$apt/root/lib/modules")"
    mv "$apt/root" "$root"
fi
echo "$root"
