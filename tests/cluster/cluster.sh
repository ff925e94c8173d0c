#!/usr/bin/env bash
# Runs docs/deploy/kubernetes.yaml on a real cluster of one node: etcd, the API server, the controllers,
# the scheduler, a kubelet and Docker, in namespaces of their own that end with it.
#
#   cluster.sh PROGRAM KUBERNETES DEPLOY WORK    the programs are KUBERNETES/bin/*, DEPLOY is docs/deploy
#
# Each fact that was seen is a line on stdout.
set -euo pipefail
export PROGRAM=$1 DEPLOY=$3 WORK=$4 PATH=$2/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HERE=$(cd "$(dirname "$0")" && pwd)
exec unshare --fork --pid --mount --net --kill-child bash -euc '
mount --make-rprivate /
mount -t proc proc /proc
exec bash "$HERE/inside.sh" 2>"$WORK/log"
'
