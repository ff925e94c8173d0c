#!/bin/sh
# Writes the root folder of a container as a tar archive: programs, the libraries that they load, the
# certificates of this system, and a folder for the vault that belongs to user 1000.
#
#   docs/deploy/image.sh target/release/reseal | docker import - reseal:local
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -m 755 "$root"
umask 022
for program; do
    install -D -m 755 "$program" "$root/usr/bin/$(basename "$program")"
    ldd "$program" | awk '$2 == "=>" { print $3 } $1 ~ /^\// { print $1 }' |
        while read -r library; do
            mkdir -p "$root$(dirname "$library")"
            cp -L "$library" "$root$library"
        done
done
install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
mkdir -m 700 "$root/vault"
cd "$root"
tar --owner=0 --group=0 --exclude=./vault -cf "$work/tar" .
tar --owner=1000 --group=1000 -rf "$work/tar" ./vault
cat "$work/tar"
