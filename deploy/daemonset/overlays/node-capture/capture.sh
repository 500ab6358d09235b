#!/bin/sh
# Redirects what comes from and goes to the pods of this node to the agent (install), or no longer (remove). Either may be
# run again at any time. The rules and routes are those that `twinstack rules` prints.
set -eu

here=$(dirname "$0")
account=${ACCOUNT_FOLDER:-/var/run/secrets/kubernetes.io/serviceaccount}
scratch=${TMPDIR:-/tmp}

# write ARGUMENT...: to files first, because a pipe would hide that there are none.
write() {
  twinstack rules --mode node --backend nft "$@" >"$scratch/rules.nft"
  twinstack rules --mode node --backend nft "$@" --routes >"$scratch/routes.sh"
}

# cidr ADDRESS: the address as the CIDR of itself alone.
cidr() {
  case $1 in
    *:*) echo "$1/128" ;;
    *) echo "$1/32" ;;
  esac
}

# families CIDR,...: the families that the pods have.
families() {
  found=
  case $1 in *.*) found=ipv4 ;; esac
  case $1 in *:*) found=${found:+$found,}ipv6 ;; esac
  echo "$found"
}

case ${1-} in
  install)
    pods=$(node "$here/pod-cidrs.mjs" "$account")
    # Pods that run the cluster must reach the API server while there is no agent.
    set -- --pod-cidrs "$pods" --families "$(families "$pods")" \
      --exclude-cidrs "$(cidr "$KUBERNETES_SERVICE_HOST")${TWINSTACK_EXCLUDE_CIDRS:+,$TWINSTACK_EXCLUDE_CIDRS}" \
      --exclude-ports "${TWINSTACK_EXCLUDE_PORTS-}"
    if [ "${TWINSTACK_REDIRECT_TO_NODE-}" = true ]; then set -- "$@" --node-ips "$NODE_IPS"; fi
    write "$@"
    sh "$scratch/routes.sh"
    nft -f "$scratch/rules.nft"
    echo "the pods $pods of this node are redirected"
    ;;
  remove)
    write --remove
    nft -f "$scratch/rules.nft"
    sh "$scratch/routes.sh"
    ;;
  *)
    echo "usage: capture.sh install|remove" >&2
    exit 2
    ;;
esac
