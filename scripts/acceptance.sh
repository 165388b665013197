#!/usr/bin/env bash
# Runs every test whose name carries a row's number and writes the table of rows with their state.
set -uo pipefail
report=$(mktemp)
trap 'rm -f "$report"' EXIT
cargo nextest run --workspace --locked --no-fail-fast --status-level all --color never -E 'test(/row_[0-9]+/)' 2>&1 | tee "$report"
status=${PIPESTATUS[0]}
python3 scripts/acceptance.py "$report" docs/acceptance.md
exit "$status"
