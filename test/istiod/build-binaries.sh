#!/usr/bin/env bash
# Builds the control plane that test/istiod runs, from public Go modules into the cache folder of the user:
#   istiod/VERSION/       pilot-discovery, istioctl and the CRDs of one version of Istio
#   kubernetes/VERSION/   kube-apiserver and kubectl
#   prometheus-operator/VERSION/  the CRD of PodMonitor
# What is there already stays. The first version takes 15 to 20 minutes on two processors, each further one 3 to 5.
#
#   build-binaries.sh [VERSION...]   the versions of Istio to build; without one, all of the table below
#   build-binaries.sh --list         the versions in the table
set -euo pipefail

KUBERNETES=1.34.4
KUBERNETES_SUM='h1:Yy6R4QB8C9kJPp25GFqEvX5XQwY5qzKeqD0Xx6oAcmk='
PROMETHEUS_OPERATOR=0.95.2
PROMETHEUS_OPERATOR_SUM='h1:DQKGQhE39ua9V+ZCro38z32jP8nAtIZ27f3qdAorXHg='
CONTROLLER_GEN=sigs.k8s.io/controller-tools/cmd/controller-gen@v0.23.0
# Version, pseudo-version of the module istio.io/istio (its releases have no tags that Go accepts), hash of its content.
ISTIO='
1.24.2       v0.0.0-20241214032803-7754674f65d3 h1:remhEc2PJofM+dUQezuaESREq/QuBlRdaT7R90mQW1w=
1.27.0       v0.0.0-20250808040725-7359d8be2504 h1:tblfA2CTj3NWnw5XBlP3Lr0NxmXiCJ1TulQ8PZrKHcA=
1.32-alpha   v0.0.0-20260827124520-eed52ebb66ad h1:ui9TJjRMAV/hb5ehQaZDq7IUGxuQP6dra9lapT/VjHI=
'
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/twinstack
GO_AT_LEAST=1.26

say() { printf 'istiod: %s\n' "$*"; }
fail() {
  printf 'istiod: %s\n' "$*" >&2
  exit 1
}

known_versions() { awk 'NF == 3 { print $1 }' <<<"$ISTIO"; }

require_tools() {
  command -v go >/dev/null || fail "there is no go here: install Go $GO_AT_LEAST or newer (https://go.dev/dl)"
  local version
  version=$(go env GOVERSION)
  printf 'go%s\n%s\n' "$GO_AT_LEAST" "$version" | sort -C -V ||
    fail "go is $version: Istio needs Go $GO_AT_LEAST or newer (https://go.dev/dl)"
  command -v etcd >/dev/null || say "there is no etcd here: the tests need one (Debian: apt-get install etcd-server)"
}

# module VERSION SUM: downloads a module and prints its folder. The hash is compared here, because the checksum database
# is asked for what is in go.sum of a module only, and not every network reaches it.
module() {
  local description folder sum
  description=$(GONOSUMDB='istio.io/istio,k8s.io/kubernetes,github.com/prometheus-operator' go mod download -json "$1@$2") ||
    fail "$1@$2 cannot be downloaded: ${description}"
  folder=$(sed -n 's/^\s*"Dir": "\(.*\)".*/\1/p' <<<"$description")
  sum=$(sed -n 's/^\s*"Sum": "\(.*\)".*/\1/p' <<<"$description")
  [ "$sum" = "$3" ] || fail "$1@$2 is not what was tested: its hash is $sum instead of $3"
  printf '%s\n' "$folder"
}

# publish FROM TO: moves a finished folder to its place, so that a build that is cut off leaves nothing to be run.
publish() {
  mkdir -p "$(dirname "$2")"
  rm -rf "$2"
  mv "$1" "$2"
}

build_istio() {
  local version=$1 pseudo_version sum folder target=$CACHE/istiod/$1
  if [ -x "$target/pilot-discovery" ]; then
    say "Istio $version is in $target"
    return
  fi
  read -r pseudo_version sum < <(awk -v version="$version" '$1 == version { print $2, $3 }' <<<"$ISTIO") ||
    fail "Istio $version is not one of: $(known_versions | xargs)"
  say "building Istio $version into $target"
  folder=$(module istio.io/istio "$pseudo_version" "$sum")
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
mkdir -p "$CACHE"
scratch=$(mktemp -d "$CACHE/build.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
if [ $# -eq 0 ]; then
  mapfile -t versions < <(known_versions)
  set -- "${versions[@]}"
fi
for version; do build_istio "$version"; done
build_kubernetes
build_pod_monitor
