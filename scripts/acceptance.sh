#!/usr/bin/env bash
# Runs every test whose name carries a row's number and writes the table of rows with their state.
set -uo pipefail
report=$(mktemp)
tests=$(mktemp)
trap 'rm -f "$report" "$tests"' EXIT
cargo nextest run --workspace --locked --no-fail-fast --status-level all --color never -E 'test(/row_[0-9]+/)' 2>&1 | tee "$report"
status=${PIPESTATUS[0]}
# Ignored tests are no part of a run, and a row that has one is not whole.
cargo nextest list --workspace --locked --run-ignored all --message-format json >"$tests" || exit 1
python3 scripts/acceptance.py "$report" "$tests" docs/acceptance.md || exit 1
exit "$status"
