#!/usr/bin/env bash
# Lays out what the container image holds: the binary, the libraries it is linked against as they are on this system, the
# certificates of public authorities, and a user. No shell, no package manager.
#
# usage: image-root.sh BINARY DIRECTORY
#
# DIRECTORY/files becomes the image's root, all of it root's; DIRECTORY/state its /var/lib/polarway, which is the user's.
# The same inputs give the same files: times are SOURCE_DATE_EPOCH (0 if unset), nothing else varies.
set -euo pipefail
umask 022

usage="usage: image-root.sh BINARY DIRECTORY"
binary=${1:?$usage}
target=${2:?$usage}
licence=$(dirname "$0")/../LICENSE
epoch=${SOURCE_DATE_EPOCH:-0}
user=10001
certificates=/etc/ssl/certs/ca-certificates.crt

fail() {
  echo "image-root.sh: $*" >&2
  exit 1
}
[ -x "$binary" ] || fail "$binary is no executable"
[ ! -e "$target" ] || fail "$target is there already"
[ -s "$certificates" ] || fail "there is no $certificates: install ca-certificates"
command -v dpkg-query >/dev/null || fail "libraries are taken from Debian's packages, and dpkg is not here"

root=$target/files
mkdir -p "$root"/{etc/ssl/certs,tmp,usr/bin,usr/lib,usr/lib64,usr/share/doc/polarway,var/lib/dpkg/status.d} "$target/state/polarway"
ln -s usr/lib "$root/lib"
ln -s usr/lib64 "$root/lib64"

install -m 755 "$binary" "$root/usr/bin/polarway"
install -m 644 "$licence" "$root/usr/share/doc/polarway/LICENSE"
install -m 644 "$certificates" "$root$certificates"
install -m 644 "$(realpath /etc/os-release)" "$root/etc/os-release"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
printf 'root:x:0:0:root:/:/sbin/nologin\npolarway:x:%s:%s:Polarway:/var/lib/polarway:/sbin/nologin\n' $user $user >"$root/etc/passwd"
printf 'root:x:0:\npolarway:x:%s:\n' $user >"$root/etc/group"
chmod 1777 "$root/tmp"
chmod 750 "$target/state/polarway"

# The package that a file came with: scanners and inventories know a library by it, and its licence is in it. Packages of
# older releases list /lib/..., those of newer ones /usr/lib/...
package_of() {
  local path
  for path in "$1" "${1#/usr}" "/usr$1"; do
    dpkg-query --search "$path" 2>/dev/null | head -n 1 | cut -d: -f1 | grep . && return
  done
  fail "no package of this system holds $1"
}

add_package() {
  local name=$1
  [ ! -e "$root/var/lib/dpkg/status.d/$name" ] || return 0
  dpkg-query --status "$name" >"$root/var/lib/dpkg/status.d/$name"
  install -D -m 644 "/usr/share/doc/$name/copyright" "$root/usr/share/doc/$name/copyright"
}

# `ldd` names the loader by the path that is in the binary, and libraries by where they were found.
listed=$(ldd "$binary") || fail "$binary is not linked against this system's libraries: $listed"
[[ $listed != *"not found"* ]] || fail "libraries of $binary are not here: $listed"
while read -r found; do
  file=$(realpath "$found")
  # /lib and /lib64 are links here and in the image.
  place=$found
  [[ $place == /usr/* ]] || place=/usr$place
  install -D -m 755 "$file" "$root$place"
  package=$(package_of "$file")
  add_package "$package"
done < <(grep -oE '(^|[[:space:]])/[^[:space:]]+' <<<"$listed" | tr -d '[:blank:]' | sort -u)
add_package ca-certificates

find "$target" -exec touch --no-dereference --date="@$epoch" {} +
