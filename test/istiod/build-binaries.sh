#!/usr/bin/env bash
# Builds the control plane that test/istiod runs, from public Go modules into the cache folder of the user:
#   istiod/VERSION/       pilot-discovery, istioctl and the CRDs of one version of Istio
#   kubernetes/VERSION/   kube-apiserver and kubectl
#   prometheus-operator/VERSION/  the CRD of PodMonitor
# What is there already stays. The first version takes 15 to 20 minutes on two processors, each further one 3 to 5.
#
#   build-binaries.sh [VERSION...]   the versions of Istio to build; without one, all of the table
#   build-binaries.sh --list         the versions in the table, which go-modules.sh has
set -euo pipefail

KUBERNETES=1.34.4
KUBERNETES_SUM='h1:Yy6R4QB8C9kJPp25GFqEvX5XQwY5qzKeqD0Xx6oAcmk='
PROMETHEUS_OPERATOR=0.95.2
PROMETHEUS_OPERATOR_SUM='h1:DQKGQhE39ua9V+ZCro38z32jP8nAtIZ27f3qdAorXHg='
CONTROLLER_GEN=sigs.k8s.io/controller-tools/cmd/controller-gen@v0.23.0
PROGRAM=istiod
# shellcheck source=go-modules.sh
. "$(dirname "$0")/go-modules.sh"

require_tools() {
  require_go
  command -v etcd >/dev/null || say "there is no etcd here: the tests need one (Debian: apt-get install etcd-server)"
}

build_istio() {
  local version=$1 folder target=$CACHE/istiod/$1
  if [ -x "$target/pilot-discovery" ]; then
    say "Istio $version is in $target"
    return
  fi
  say "building Istio $version into $target"
  folder=$(istio_module "$version")
  (cd "$folder" && GOWORK=off go build -buildvcs=false -o "$scratch/istio/" ./pilot/cmd/pilot-discovery ./istioctl/cmd/istioctl)
  install -m 644 "$folder/manifests/charts/base/files/crd-all.gen.yaml" "$scratch/istio/crds.yaml"
  publish "$scratch/istio" "$target"
}

build_kubernetes() {
  local folder target=$CACHE/kubernetes/$KUBERNETES
  if [ -x "$target/kubectl" ]; then
    say "Kubernetes $KUBERNETES is in $target"
    return
  fi
  say "building Kubernetes $KUBERNETES into $target"
  folder=$(module k8s.io/kubernetes "v$KUBERNETES" "$KUBERNETES_SUM")
  # The module points to its own repository for its libraries; they are modules of their own, with the same minor version.
  sed -E "s#=> ./staging/src/(k8s.io/[a-z-]+)#=> \1 v0.${KUBERNETES#1.}#" "$folder/go.mod" >"$scratch/go.mod"
  install -m 644 "$folder/go.sum" "$scratch/go.sum"
  (cd "$folder" && GOWORK=off go build -buildvcs=false -mod=mod -modfile="$scratch/go.mod" -o "$scratch/kubernetes/" ./cmd/kube-apiserver ./cmd/kubectl)
  publish "$scratch/kubernetes" "$target"
}

# The operator's repository makes its CRDs from the types of this module with the same program.
build_pod_monitor() {
  local folder target=$CACHE/prometheus-operator/$PROMETHEUS_OPERATOR
  if [ -e "$target/podmonitors.yaml" ]; then
    say "the CRD of PodMonitor is in $target"
    return
  fi
  say "writing the CRD of PodMonitor $PROMETHEUS_OPERATOR into $target"
  folder=$(module github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring \
    "v$PROMETHEUS_OPERATOR" "$PROMETHEUS_OPERATOR_SUM")
  (cd "$folder" && GOWORK=off go run "$CONTROLLER_GEN" crd paths=./v1 output:crd:dir="$scratch/crds")
  mkdir "$scratch/prometheus-operator"
  mv "$scratch/crds/monitoring.coreos.com_podmonitors.yaml" "$scratch/prometheus-operator/podmonitors.yaml"
  publish "$scratch/prometheus-operator" "$target"
}

if [ "${1-}" = --list ]; then
  known_versions
  exit 0
fi
require_tools
make_scratch
if [ $# -eq 0 ]; then
  mapfile -t versions < <(known_versions)
  set -- "${versions[@]}"
fi
for version; do build_istio "$version"; done
build_kubernetes
build_pod_monitor
