# Sourced by the scripts that build programs of Istio from public Go modules: which versions there are, and how one gets
# its sources. PROGRAM names the script in what it says.

# Version, pseudo-version of the module istio.io/istio (its releases have no tags that Go accepts), hash of its content.
ISTIO='
1.24.2       v0.0.0-20241214032803-7754674f65d3 h1:remhEc2PJofM+dUQezuaESREq/QuBlRdaT7R90mQW1w=
1.27.0       v0.0.0-20250808040725-7359d8be2504 h1:tblfA2CTj3NWnw5XBlP3Lr0NxmXiCJ1TulQ8PZrKHcA=
1.32-alpha   v0.0.0-20260827124520-eed52ebb66ad h1:ui9TJjRMAV/hb5ehQaZDq7IUGxuQP6dra9lapT/VjHI=
'
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/twinstack
GO_AT_LEAST=1.26

say() { printf '%s: %s\n' "$PROGRAM" "$*"; }
fail() {
  printf '%s: %s\n' "$PROGRAM" "$*" >&2
  exit 1
}

known_versions() { awk 'NF == 3 { print $1 }' <<<"$ISTIO"; }

require_go() {
  command -v go >/dev/null || fail "there is no go here: install Go $GO_AT_LEAST or newer (https://go.dev/dl)"
  local version
  version=$(go env GOVERSION)
  printf 'go%s\n%s\n' "$GO_AT_LEAST" "$version" | sort -C -V ||
    fail "go is $version: Istio needs Go $GO_AT_LEAST or newer (https://go.dev/dl)"
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

# istio_module VERSION: the folder of a version of the table.
istio_module() {
  local pseudo_version sum
  read -r pseudo_version sum < <(awk -v version="$1" '$1 == version { print $2, $3 }' <<<"$ISTIO") ||
    fail "Istio $1 is not one of: $(known_versions | xargs)"
  module istio.io/istio "$pseudo_version" "$sum"
}

# publish FROM TO: moves a finished folder to its place, so that a build that is cut off leaves nothing to be run.
publish() {
  mkdir -p "$(dirname "$2")"
  rm -rf "$2"
  mv "$1" "$2"
}

# make_scratch: a folder for the build beside the place where it goes, in `scratch`; it is removed at the end.
make_scratch() {
  mkdir -p "$CACHE"
  scratch=$(mktemp -d "$CACHE/build.XXXXXX")
  trap 'rm -rf "$scratch"' EXIT
}
