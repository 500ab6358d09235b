#!/usr/bin/env bash
# Builds istio-cni's own ZDS server as a program for the tests, from the public Go module, into the cache folder of the user:
#   istio-cni/VERSION/zds-server
# What is there already stays, unless the sources beside this script have changed. The first time takes 3 to 5 minutes.
#
#   build-server.sh [VERSION...]   the versions of Istio, 1.27.0 or newer; without one, the newest
set -euo pipefail

PROGRAM=istio-cni
SOURCES=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../istiod/go-modules.sh
. "$SOURCES/../istiod/go-modules.sh"

hash_of_sources() { (cd "$SOURCES" && sha256sum main.go nodeagent.go); }

build_server() {
  local version=$1 folder target=$CACHE/istio-cni/$1
  if [ -x "$target/zds-server" ] && hash_of_sources | cmp -s - "$target/sources.sha256"; then
    say "the ZDS server of Istio $version is in $target"
    return
  fi
  say "building the ZDS server of Istio $version into $target"
  folder=$(istio_module "$version")
  # What is needed of the package is not exported, and Go lets nobody add to a module in its cache: so to a copy.
  rm -rf "$scratch/module"
  cp -r --no-preserve=mode,ownership "$folder" "$scratch/module"
  mkdir -p "$scratch/module/cni/cmd/zds-server" "$scratch/server"
  cp "$SOURCES/main.go" "$scratch/module/cni/cmd/zds-server/main.go"
  cp "$SOURCES/nodeagent.go" "$scratch/module/cni/pkg/nodeagent/tested_zds_server_linux.go"
  # -trimpath: the copy has another path each time, and the build cache would know nothing of it.
  (cd "$scratch/module" && GOWORK=off go build -trimpath -buildvcs=false -mod=mod -o "$scratch/server/zds-server" ./cni/cmd/zds-server)
  hash_of_sources >"$scratch/server/sources.sha256"
  publish "$scratch/server" "$target"
}

require_go
make_scratch
[ $# -gt 0 ] || set -- "$(known_versions | tail -n 1)"
for version; do build_server "$version"; done
