#!/usr/bin/env bash
# Writes docs/api-python.md with the version of griffe that the tests check it with.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -x .venv/bin/python ] || python3 -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check "$(grep '^griffe==' tests/python/client-requirements.txt)"
.venv/bin/python scripts/api_reference.py
