#!/bin/sh
# Runs a command of Reseal in a container that can do nothing else: no network, no privilege, nothing to
# write to but the vault's volume and a folder in memory.
#
#   docs/deploy/run.sh IMAGE VOLUME SECRETS COMMAND...
#
# SECRETS is a folder with reseal.key: user 1000's with mode 0400, or root's with group 1000 and 0440.
# Further options for docker stand in $DOCKER_OPTIONS, such as "-i" or "-d --name vault".
set -eu
image=$1 volume=$2 secrets=$3
shift 3
# shellcheck disable=SC2086 # options are words
exec docker run --rm ${DOCKER_OPTIONS-} \
    --network none \
    --read-only \
    --user 1000:1000 \
    --cap-drop ALL \
    --security-opt no-new-privileges \
    --pids-limit 64 \
    --memory 256m \
    --memory-swap 256m \
    --ulimit core=0 \
    --tmpfs /run/reseal:mode=0700,uid=1000,gid=1000,size=1m \
    --mount "type=volume,src=$volume,dst=/vault" \
    --mount "type=bind,src=$secrets,dst=/run/secrets/reseal,readonly" \
    --env CREDENTIALS_DIRECTORY=/run/secrets/reseal \
    --env RESEAL_STATE_DIR=/vault/state \
    --env RESEAL_SOCKET=/run/reseal/private/daemon.sock \
    "$image" /usr/bin/reseal --no-input "$@"
