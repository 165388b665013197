#!/usr/bin/env bash
# Licences and the direction of dependencies (deny.toml), with the advisory database left out: it needs the network.
set -euo pipefail
cargo deny --version >/dev/null 2>&1 || cargo install --locked cargo-deny
cargo deny check bans licenses sources
