# Runs as root under the booted systemd. Each fact that was seen is a line in /run/test/seen; the test
# says which must be there.
set -xu
state=/var/lib/reseal socket=/run/reseal/daemon.sock
seen() { echo "$*" >>/run/test/seen; }
reseal() { setpriv --reuid=reseal --regid=reseal --init-groups /usr/local/bin/reseal --no-input "$@"; }
ask() { reseal --state-dir $state --socket $socket "$@"; }
of() { systemctl show -P "$1" reseal.service; }
# wait_for COMMAND...: at most 20 seconds.
wait_for() {
    set +x
    for _ in $(seq 400); do
        "$@" && set -x && return
        sleep 0.05
    done
    set -x
    seen "waited in vain: $*"
}
is() { [ "$(of "$1")" = "$2" ]; }
# as UID COMMAND...: a client that has nothing but the socket.
as() {
    setpriv --reuid="$1" --regid="$1" --clear-groups env HOME=/nonexistent \
        /usr/local/bin/reseal --daemon-user reseal --no-input "${@:2}"
}

useradd --system --home-dir $state --no-create-home --shell /usr/sbin/nologin reseal
install -d -o reseal -g reseal -m 700 $state
cp -r /run/test/state/. $state/
cat >$state/reseal.json <<CONFIG
{
    "daemon": {"socket": "$socket", "share": "everyone"},
    "grants": {
        "agent": {"to": {"uid": 4242}, "refs": ["vault:canary"]},
        "gateway": {"to": {"unit": "gateway.service"}, "refs": ["vault:canary"]}
    }
}
CONFIG
chown -R reseal:reseal $state
/usr/bin/python3 /run/test/issuer.py &

# Root makes the credential, the owner of the vault adds the slot.
/usr/local/bin/reseal --state-dir $state --no-input vault slot add systemd-creds --with-key host \
    --key-fd 3 3</run/test/key && seen "slot added"
seen "credential $(stat -c '%U %a' /etc/reseal/reseal.key.cred)"
seen "files of others: $(find $state ! -user reseal | wc -l)"
# A wrong key: no slot, and no credential is left.
head -c 32 /dev/zero >/tmp/wrong
/usr/local/bin/reseal --state-dir $state --no-input vault slot add systemd-creds --with-key host \
    --key-fd 3 -o /tmp/none.cred 3</tmp/wrong
seen "wrong key: exit $?, credential $(ls /tmp/none.cred 2>/dev/null || echo none)"

# Shared by the daemon's own socket first, then by systemd's, with the commands that are told.
install="/usr/local/bin/reseal --state-dir $state --json daemon install --system --share everyone"
$install && seen "service installed"
systemctl daemon-reload
systemctl start reseal.service
seen "without systemd's socket: $(of ActiveState), got $(as 4242 token --ref vault:canary)"
$install --with-socket >/tmp/next && seen "units installed"
/usr/bin/python3 -c 'import json; print(*json.load(open("/tmp/next"))["next"], sep="\n")' >/tmp/next.sh
bash -e /tmp/next.sh
seen "commands that come next: exit $?, socket $(systemctl is-active reseal.socket)"
seen "started: $(of ActiveState), $(of StatusText)"
pid=$(of MainPID)
for fact in Uid CapEff NoNewPrivs Seccomp; do
    seen "process: $(grep "^$fact:" /proc/"$pid"/status | tr -s '\t ' ' ')"
done
seen "user: $(id -u reseal)"
seen "secret memory of a command: $(reseal --state-dir $state doctor | grep -c memfd_secret)"
seen "secret memory of the daemon: $(grep -c secretmem /proc/"$pid"/maps)"
seen "client got: $(ask secrets get canary)"

# Other users: one has a grant, a service has one, a third user has none.
seen "granted user got: $(as 4242 token --ref vault:canary)"
got=$(as 4242 secrets get canary)
seen "granted user by name: exit $?, got '$got'"
useradd --system --no-create-home gateway
cat >/etc/systemd/system/gateway.service <<UNIT
[Service]
Type=oneshot
User=gateway
Environment=HOME=/nonexistent
StandardOutput=file:/run/gateway
ExecStart=/usr/local/bin/reseal --daemon-user reseal --no-input token --ref vault:canary
UNIT
systemctl start gateway.service
seen "granted unit got: $(cat /run/gateway)"
got=$(as gateway token --ref vault:canary)
seen "user of the unit elsewhere: exit $?, got '$got'"
got=$(as 4244 token --ref vault:canary)
seen "another user: exit $?, got '$got'"

# Killed: systemd starts it again, and a client that asks meanwhile waits for its answer.
systemctl kill --signal=KILL --kill-whom=main reseal.service
seen "client after a kill got: $(ask secrets get canary)"
seen "restarts: $(of NRestarts), another process: $([ "$pid" != "$(of MainPID)" ] && echo yes)"

# Stopped while a token is on its way.
touch /run/test/stall
ask token acme:me --min-ttl 50m >/dev/null 2>&1 &
client=$!
wait_for test -s /run/test/asked
systemctl stop --no-block reseal.service
wait_for is ActiveState deactivating
kill $client
rm /run/test/stall
systemctl stop reseal.service
seen "stopped: $(of Result), exit $(of ExecMainStatus)"
seen "stored: $(reseal --state-dir $state token acme:me --key-fd 3 3</run/test/key)"
seen "asked: $(wc -l </run/test/asked)"

# The key in a TPM, as the only one: process 1 has the TPM decrypt it.
mkdir /run/tpm
swtpm socket --tpm2 --tpmstate dir=/run/tpm --server type=tcp,port=2331 --ctrl type=tcp,port=2332 \
    --flags not-need-init,startup-clear --daemon
export TPM2TOOLS_TCTI=swtpm:host=127.0.0.1,port=2331
rm /etc/reseal/reseal.key.cred
/usr/local/bin/reseal --state-dir $state --no-input vault slot add tpm --tpm2-device $TPM2TOOLS_TCTI \
    --drop-in /etc/systemd/system/reseal.service.d/tpm.conf --key-fd 3 3</run/test/key &&
    seen "slot of the TPM added"
systemctl daemon-reload
systemctl start reseal.service
seen "opened with the TPM: $(of ActiveState), got $(ask secrets get canary)"
systemctl stop reseal.socket reseal.service
tpm2_pcrextend 7:sha256="$(printf %064d 1)"
systemctl start reseal.service
seen "after a change of register 7: $(of ActiveState), exit $(of ExecMainStatus)"
systemctl stop reseal.service

# A person's own daemon, under the manager of their services. What a session's manager makes at login is
# made here: there is nobody who logs in.
useradd --create-home --shell /bin/sh lea
lea=$(id -u lea)
mkdir -p /etc/systemd/system/user-runtime-dir@.service.d
cat >/etc/systemd/system/user-runtime-dir@.service.d/here.conf <<UNIT
[Service]
ExecStart=
ExecStart=/usr/bin/install -d -o lea -g lea -m 700 /run/user/%i
ExecStop=
UNIT
systemctl daemon-reload
systemctl start user@"$lea".service
own() {
    setpriv --reuid=lea --regid=lea --init-groups \
        env -C /home/lea HOME=/home/lea XDG_RUNTIME_DIR=/run/user/"$lea" "$@"
}
own sh -c "umask 077; head -c 32 /dev/urandom >key"
own reseal --no-input init --key-file key
echo -n of-my-own | own reseal --no-input secrets set mine --key-file key
own reseal --json daemon install --user --key-file /home/lea/key --with-socket >/tmp/next
/usr/bin/python3 -c 'import json; print(*json.load(open("/tmp/next"))["next"], sep="\n")' >/tmp/next.sh
own bash -e /tmp/next.sh
seen "user's units: exit $?, socket $(own systemctl --user is-active reseal.socket)"
seen "user's daemon: got $(own reseal --no-input secrets get mine)"
pid=$(own systemctl --user show -P MainPID reseal.service)
seen "user's process: $(grep "^Uid:" /proc/"$pid"/status | tr -s '\t ' ' ')"
seen "lea: $lea"
own systemctl --user kill --signal=KILL --kill-whom=main reseal.service
seen "user's client after a kill: $(own reseal --no-input secrets get mine)"
systemctl restart user@"$lea".service
wait_for own systemctl --user --quiet is-active reseal.service
seen "user's daemon starts with the manager: got $(own reseal --no-input secrets get mine)"
own systemctl --user stop reseal.socket reseal.service
seen "user's daemon stopped: $(own systemctl --user show -P Result reseal.service)"
seen end
