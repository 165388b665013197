#!/bin/sh
# Makes the virtual environment of the Python peers in $XDG_CACHE_HOME/polarway/venv. It does nothing if the
# environment already holds what peers/requirements.txt pins. A package that cannot be installed is named and
# passed over: the benchmark then records that peer as missing.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
requirements=$here/peers/requirements.txt
venv=${XDG_CACHE_HOME:-$HOME/.cache}/polarway/venv
installed=$venv/requirements.txt

if [ -f "$installed" ] && cmp -s "$requirements" "$installed"; then
    exit 0
fi

python=${PYTHON:-python3}
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"

missing=0
while IFS= read -r requirement; do
    case $requirement in '' | '#'*) continue ;; esac
    if ! "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$requirement"; then
        echo "setup.sh: $requirement cannot be installed; its peer will be missing" >&2
        missing=1
    fi
done <"$requirements"

# An incomplete environment is tried again the next time.
[ "$missing" = 1 ] || cp "$requirements" "$installed"
