#!/bin/sh
# Redirects what comes from and goes to the pods of this node to the agent (install), or no longer (pause): then new
# connections pass by, and open ones go on. Either may be run again at any time. The rules and routes are those that
# `twinstack rules` prints, with the agent's own ports and mark.
set -eu

here=$(dirname "$0")
account=${ACCOUNT_FOLDER:-/var/run/secrets/kubernetes.io/serviceaccount}
scratch=${TMPDIR:-/tmp}

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
    # Services are addresses of the node then, to which connections pass by.
    if [ -d /sys/class/net/kube-ipvs0 ] && [ -z "${CAPTURE_SERVICE_CIDRS-}" ]; then
      echo "kube-proxy is in IPVS mode: set CAPTURE_SERVICE_CIDRS to the service CIDRs of the cluster (where it no longer is, remove kube-ipvs0)" >&2
      exit 1
    fi
    pods=$(node "$here/pod-cidrs.mjs" "$account")
    # Pods that run the cluster must reach the API server while there is no agent.
    set -- --pod-cidrs "$pods" --families "$(families "$pods")" \
      --exclude-cidrs "$(cidr "$KUBERNETES_SERVICE_HOST")${CAPTURE_EXCLUDE_CIDRS:+,$CAPTURE_EXCLUDE_CIDRS}" \
      --exclude-ports "${CAPTURE_EXCLUDE_PORTS-}" --service-cidrs "${CAPTURE_SERVICE_CIDRS-}"
    if [ "${CAPTURE_TO_NODE_IPS-}" = true ]; then set -- "$@" --node-ips "$NODE_IPS"; fi
    # To files first, because a pipe would hide that there are none.
    twinstack rules --mode node --backend nft "$@" >"$scratch/rules.nft"
    twinstack rules --mode node --backend nft "$@" --routes >"$scratch/routes.sh"
    sh "$scratch/routes.sh"
    nft -f "$scratch/rules.nft"
    echo "the pods $pods of this node are redirected"
    ;;
  pause)
    twinstack rules --mode node --backend nft --pause >"$scratch/rules.nft"
    nft -f "$scratch/rules.nft"
    ;;
  *)
    echo "usage: capture.sh install|pause" >&2
    exit 2
    ;;
esac
