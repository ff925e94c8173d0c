#!/usr/bin/env bash
# A keyslot in a software TPM, in a network of its own: systemd-creds talks to it as to any TPM.
#
#   tpm.sh PROGRAM WORK    WORK has the state folder `state` and its `passphrase`
#
# Each fact that was seen is a line on stdout.
set -euo pipefail
export PROGRAM=$1 WORK=$2 PATH=/usr/sbin:/usr/bin:/sbin:/bin
exec unshare --mount --net --pid --fork --kill-child bash -uc '
cd "$WORK"
mkdir -p host tpm other creds
mount --bind host /var/lib/systemd
ip link set lo up
device=swtpm:host=127.0.0.1,port=2331
export TPM2TOOLS_TCTI=$device TSS2_LOG=all+NONE
start() {
    swtpm socket --tpm2 --tpmstate dir="$WORK/$1" --server type=tcp,port=2331 \
        --ctrl type=tcp,port=2332 --flags not-need-init,startup-clear --daemon --pid file="$WORK/pid"
}
open() { systemd-creds --name=reseal.key --tpm2-device=$device decrypt tpm.cred -; }
reseal() { env -i "CREDENTIALS_DIRECTORY=$WORK/creds" "$PROGRAM" --state-dir "$WORK/state" \
    --no-input "$@"; }

start tpm
reseal vault slot add tpm --tpm2-device $device -o tpm.cred --passphrase-file passphrase \
    --drop-in unit.d/key.conf && echo "slot added"
(umask 077; open >creds/reseal.key)
echo "opened with the TPM: $(reseal secrets get canary)"
tpm2_pcrextend 7:sha256=$(printf %064d 1)
open >again && echo "opens after a change" || echo "refused after a change of register 7"
kill $(cat pid)
tail -s 0.1 --pid=$(cat pid) -f /dev/null
start other
open >again && echo "another TPM opens it" || echo "refused by another TPM"
kill $(cat pid)
'
