#!/bin/sh
# Installs the Python peers, each in a virtual environment of its own under $XDG_CACHE_HOME/polarway/peers, so that no
# peer changes what another one is measured with, and the Java runtime that Spark needs. It does nothing for an
# environment that already holds what peers/requirements pins. A peer that cannot be installed is passed over and the
# reason written beside where it would be: the benchmark then records that peer as not measured, with the reason.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
peers=${XDG_CACHE_HOME:-$HOME/.cache}/polarway/peers
python=${PYTHON:-python3}

# Spark 4 runs on release 17 or newer.
have_java() {
    java=java
    [ -z "${JAVA_HOME:-}" ] || java=$JAVA_HOME/bin/java
    release=$("$java" -XshowSettings:properties -version 2>&1 | sed -n 's/^ *java\.specification\.version = //p')
    [ "${release%%.*}" -ge 17 ] 2>/dev/null
}

install_java() {
    command -v apt-get >/dev/null || return 0
    sudo=''
    [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update -qq || return 0
    for release in 17 21 25; do
        package=openjdk-$release-jre-headless
        apt-cache show "$package" >/dev/null 2>&1 || continue
        $sudo apt-get install -y -qq --no-install-recommends "$package" && return 0
    done
}

install_peer() {
    requirements=$1
    name=$(basename "$requirements" .txt)
    home=$peers/$name
    if [ -f "$home/requirements.txt" ] && cmp -s "$requirements" "$home/requirements.txt"; then
        return 0
    fi
    rm -rf "$home" "$home.missing"
    if "$python" -m venv "$home" \
        && "$home/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$requirements"; then
        cp "$requirements" "$home/requirements.txt"
        return 0
    fi
    # What is left of it would start and then fail; the next run tries again.
    rm -rf "$home"
    reason="$(tr '\n' ' ' <"$requirements")cannot be installed for $("$python" --version 2>&1) on $(uname -sm)"
    echo "$reason" >"$home.missing"
    echo "setup.sh: $reason; $name will not be measured" >&2
}

mkdir -p "$peers"
have_java || install_java
have_java || echo "setup.sh: there is no Java runtime of release 17 or newer; spark will not be measured" >&2
for requirements in "$here"/peers/requirements/*.txt; do
    install_peer "$requirements"
done
