#!/bin/sh
# Builds the Debian runner root filesystem as a tar file, without the runner
# itself: `musher-image runner --base debian` adds that and packs squashfs.
#
# usage: build.sh SUITE OUT.tar
#
# Uses mmdebstrap where it is installed (no root needed where unprivileged user
# namespaces are allowed), else debootstrap as root.
set -eu

suite=$1
out=$2
here=$(cd "$(dirname "$0")" && pwd)
packages=$(sed 's/#.*//' "$here/packages" | tr -s ' \n' ',,' | sed 's/^,//;s/,$//')
# The release's own name for ICU and the libraries of the 64-bit time_t change.
if [ "$suite" != bookworm ]; then
    packages=$(echo "$packages" | sed 's/libicu72/libicu76/;s/libssl3/libssl3t64/;s/liblttng-ust1/liblttng-ust1t64/')
fi
mirror=http://deb.debian.org/debian

# Runs inside the new root: the job's user, and sudo without a password.
setup='
set -eu
useradd --create-home --uid 1001 --shell /bin/bash runner
printf "runner ALL=(ALL) NOPASSWD:ALL\n" > /etc/sudoers.d/runner
chmod 0440 /etc/sudoers.d/runner
printf "sled\n" > /etc/hostname
printf "127.0.0.1 localhost sled\n::1 localhost\n" > /etc/hosts
: > /etc/resolv.conf
rm -rf /var/cache/apt/archives/*.deb /var/log/*.log /var/log/apt
'

if command -v mmdebstrap >/dev/null; then
    exec mmdebstrap --variant=minbase --include="$packages" \
        --customize-hook='chroot "$1" sh -c '"'$setup'" \
        "$suite" "$out" "$mirror"
fi
if ! command -v debootstrap >/dev/null; then
    echo "neither mmdebstrap nor debootstrap is installed; install the package mmdebstrap" >&2
    exit 1
fi
if [ "$(id -u)" != 0 ]; then
    echo "debootstrap needs root; install the package mmdebstrap to build as a user" >&2
    exit 1
fi
root=$out.root
trap 'rm -rf "$root"' EXIT
rm -rf "$root"
debootstrap --variant=minbase --include="$packages" "$suite" "$root" "$mirror" >&2
chroot "$root" sh -c "$setup" >&2
tar --create --format=gnu --numeric-owner --sort=name --file "$out" \
    --exclude=./proc/* --exclude=./sys/* --exclude=./dev/* --directory "$root" .
