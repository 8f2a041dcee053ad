#!/bin/sh
# setup.sh [package] [appliance] [browser] - installs what building and the demonstration need, and is missing; what the Debian
# package, the appliance and the tests of pages need as well when they are named. Debian 12; run as root.
set -eu

missing=
need() { # COMMAND PACKAGE
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need ip iproute2
need iperf3 iperf3
need nft nftables
need ping iputils-ping
need curl curl
need python3 python3
need ethtool ethtool
need tcpdump tcpdump
need cc gcc
need c++ g++

for part in "$@"; do
    case $part in
    package)
        need dh debhelper
        need man man-db
        need systemd-analyze systemd
        ;;
    appliance)
        need mmdebstrap mmdebstrap
        need grub-mkimage grub-common
        need mkfs.vfat dosfstools
        need mcopy mtools
        need sfdisk fdisk
        need genisoimage genisoimage
        need cpio cpio
        need busybox busybox-static
        need depmod kmod
        need ssh openssh-client
        need wget wget
        need rauc rauc
        need mksquashfs squashfs-tools
        need openssl openssl
        need xmllint libxml2-utils
        [ -e /usr/lib/grub/i386-pc/boot.img ] || missing="$missing grub-pc-bin"
        [ -e /usr/lib/grub/x86_64-efi/moddep.lst ] || missing="$missing grub-efi-amd64-bin"
        [ -e /usr/share/OVMF/OVMF_CODE.fd ] || missing="$missing ovmf"
        if ! { command -v qemu-system-x86_64 && command -v qemu-img; } >/dev/null 2>&1; then
            # Both of one suite: apt takes one away for the other when they differ.
            suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
            missing="$missing --allow-downgrades qemu-system-x86/$suite qemu-utils/$suite"
        fi
        ;;
    browser)
        need chromium chromium
        need unshare util-linux
        ;;
    *)
        echo "setup.sh: nothing is called \`$part\`: package, appliance, browser" >&2
        exit 1
        ;;
    esac
done

# A compiler for eBPF: rustup's nightly with the sources of core, or Debian's.
nightly=$(rustup which --toolchain nightly rustc 2>/dev/null || true)
features=
if [ -n "$nightly" ] && [ -e "$("$nightly" --print sysroot)/lib/rustlib/src/rust/library/core/Cargo.toml" ]; then
    :
else
    features="--no-default-features --features llvm-22"
    [ -e /usr/lib/rustlib/src/rust/library/core/Cargo.toml ] || missing="$missing rustc-web cargo-web rust-web-src"
    [ -x /usr/lib/llvm-22/bin/llvm-config ] || missing="$missing llvm-22-dev"
fi

if [ -n "$missing" ]; then
    echo "installing:$missing"
    apt-get update -qq
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi
if ! command -v bpf-linker >/dev/null 2>&1; then
    echo "installing: bpf-linker"
    # shellcheck disable=SC2086
    LLVM_PREFIX=/usr/lib/llvm-22 cargo install --quiet --locked bpf-linker --version 0.13.0 $features
fi
