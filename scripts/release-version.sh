#!/usr/bin/env bash
# Prints the version of the workspace. Fails if TAG is not it with a v before.
#
# usage: release-version.sh TAG
set -euo pipefail
tag=${1:?usage: release-version.sh TAG}
manifest=$(dirname "$0")/../Cargo.toml
version=$(sed -n '/^\[workspace\.package\]$/,/^\[/ s/^version = "\(.*\)"$/\1/p' "$manifest")
[ -n "$version" ] || { echo "Cargo.toml has no version in [workspace.package]" >&2; exit 1; }
[ "$tag" = "v$version" ] || { echo "the tag is $tag, and the version in Cargo.toml $version" >&2; exit 1; }
echo "$version"
