# Runs as the first process of the namespaces that cluster.sh makes.
set -xu
cd "$WORK"
seen() { echo "$*"; }
# wait_for COMMAND...: at most three minutes; a container that failed is started again after up to 40 s.
wait_for() {
    set +x
    for _ in $(seq 360); do
        "$@" >/dev/null 2>&1 && set -x && return
        sleep 0.5
    done
    set -x
    seen "waited in vain: $*"
}
start() { "$@" >"$WORK/$1.log" 2>&1 </dev/null & }
in_pod() { kubectl exec -i agent-0 -c "$1" -- "${@:2}"; }
is_ready() { [ "$(kubectl get pod agent-0 -o jsonpath='{.status.phase}')" = Running ]; }
told() { kubectl logs agent-0 -c agent | grep -x "got .*"; }

# A node has an address that is not the loopback's.
ip link set lo up
ip link add node type bridge
ip addr add 10.250.0.1/24 dev node
ip link set node up
ip route add default dev node

# Where the machine may not lower the score of a process, no container gets a lower one.
cat >runtime <<'RUNTIME'
#!/bin/sh
bundle='' before=''
for word; do
    [ "$before" = --bundle ] && bundle=$word
    before=$word
done
[ -z "$bundle" ] || sed -i 's/"oomScoreAdj":-[0-9]*/"oomScoreAdj":0/' "$bundle/config.json"
exec runc "$@"
RUNTIME
chmod +x runtime
export DOCKER_HOST=unix://$WORK/docker.sock KUBECONFIG=$WORK/kubeconfig
start dockerd --iptables=false --ip-masq=false --storage-driver=overlay2 --data-root "$WORK/docker/data" \
    --exec-root "$WORK/docker/exec" -p "$WORK/docker.pid" -H "$DOCKER_HOST" \
    --add-runtime "here=$WORK/runtime" --default-runtime here
start etcd --data-dir "$WORK/etcd"
openssl genrsa -out accounts.key 2048
echo 'token,admin,1,"system:masters"' >tokens
cat >kubeconfig <<CONFIG
apiVersion: v1
kind: Config
clusters: [{name: here, cluster: {server: "https://10.250.0.1:6443", insecure-skip-tls-verify: true}}]
users: [{name: admin, user: {token: token}}]
contexts: [{name: here, context: {cluster: here, user: admin}}]
current-context: here
CONFIG
start kube-apiserver --etcd-servers http://127.0.0.1:2379 --cert-dir "$WORK/api" \
    --bind-address 10.250.0.1 --token-auth-file tokens --authorization-mode AlwaysAllow \
    --service-account-issuer https://here --service-account-signing-key-file accounts.key \
    --service-account-key-file accounts.key --service-cluster-ip-range 10.251.0.0/24 \
    --disable-admission-plugins ServiceAccount --kubelet-preferred-address-types InternalIP
wait_for kubectl get --raw /readyz
wait_for docker version
start kube-controller-manager --kubeconfig kubeconfig --leader-elect=false --cert-dir "$WORK/controllers"
start kube-scheduler --kubeconfig kubeconfig --leader-elect=false --cert-dir "$WORK/scheduler"
"$DEPLOY/image.sh" /usr/bin/sleep | docker import --change 'CMD ["/usr/bin/sleep", "infinity"]' - pause:local
"$DEPLOY/image.sh" "$PROGRAM" "$WORK/agent" /usr/bin/ls | docker import - reseal:local
start kubelet --kubeconfig kubeconfig --root-dir "$WORK/kubelet" --cert-dir "$WORK/kubelet-certificates" \
    --container-runtime docker --docker-endpoint "$DOCKER_HOST" --pod-infra-container-image pause:local \
    --hostname-override node --fail-swap-on=false --enforce-node-allocatable= --eviction-hard=

# What an administrator does. This Kubernetes does not know ReadWriteOncePod yet.
mkdir volume
kubectl apply -f - <<VOLUME
apiVersion: v1
kind: PersistentVolume
metadata: {name: vault}
spec:
  capacity: {storage: 256Mi}
  accessModes: [ReadWriteOnce]
  local: {path: "$WORK/volume"}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [
    {key: kubernetes.io/hostname, operator: In, values: [node]}]}]}}
VOLUME
(umask 077 && head -c 32 /dev/urandom >reseal.key)
kubectl create secret generic reseal-key --from-file=reseal.key
sed s/ReadWriteOncePod/ReadWriteOnce/ "$DEPLOY/kubernetes.yaml" | kubectl apply -f -
wait_for is_ready
wait_for in_pod reseal /usr/bin/reseal --no-input vault status
printf value-of-the-vault | in_pod reseal /usr/bin/reseal --no-input secrets set openai/default &&
    seen "secret set"
wait_for told
seen "agent: $(told)"
pid=$(docker inspect -f '{{.State.Pid}}' "$(docker ps -q -f name=k8s_reseal_agent-0)")
for fact in Uid CapEff NoNewPrivs Seccomp; do
    seen "daemon: $(grep "^$fact:" /proc/"$pid"/status | tr -s '\t ' ' ')"
done
seen "volume: $(stat -c '%u %a' volume/state)"
in_pod reseal /usr/bin/reseal --no-input doctor | sed -n 's/^\(ok\|warning\) *\(memory\|sandbox\) .*/\2: \1/p'
in_pod reseal /usr/bin/reseal --no-input --state-dir /elsewhere init && seen "the root takes files"
seen "agent sees of the vault: $(in_pod agent /usr/bin/ls -A /vault)"
in_pod agent /usr/bin/ls /run/secrets/reseal && seen "the agent sees the key"

# Another pod on the same volume.
kubectl logs -f agent-0 -c reseal >daemon &
kubectl delete pod agent-0
seen "daemon ended: $(grep -c 'locking: a signal' daemon)"
wait_for is_ready
wait_for told
seen "agent of the next pod: $(told)"
kubectl delete statefulset agent
seen end
