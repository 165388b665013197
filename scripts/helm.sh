#!/usr/bin/env bash
# Writes the README.md of the Helm chart from its values, and the golden files of its tests.
set -euo pipefail
cd "$(dirname "$0")/.."

environment="$HOME/.cache/polarway/helm-venv"
[ -x "$environment/bin/python" ] || python3 -m venv "$environment"
"$environment/bin/python" -m pip install --quiet --disable-pip-version-check --requirement tests/python/helm-requirements.txt
"$environment/bin/python" scripts/helm_readme.py
cd tests/helm
"$environment/bin/python" golden.py
