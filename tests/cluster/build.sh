#!/usr/bin/env bash
# Builds a cluster's programs from Debian's sources of Kubernetes: some ten minutes, once.
#
#   build.sh FOLDER    the programs are FOLDER/bin/*
set -euo pipefail
programs=(kubectl kubelet kube-apiserver kube-controller-manager kube-scheduler)
folder=$(realpath -m "$1")
[ -e "$folder/built" ] && exit
rm -rf "$folder"
mkdir -p "$folder"/{bin,go/src/k8s.io,lists/partial,archives/partial}
cd "$folder"
key=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb-src [signed-by=$key] http://deb.debian.org/debian bookworm main" >sources.list
sources=(-o "Dir::Etc::sourcelist=$folder/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$folder/lists" -o "Dir::Cache=$folder" -o APT::Sandbox::User=root)
apt-get "${sources[@]}" -q update
apt-get "${sources[@]}" -q --download-only source kubernetes
tar -xf kubernetes_*.orig.tar.gz
mv kubernetes-*/ go/src/k8s.io/kubernetes
cd go/src/k8s.io/kubernetes
export GOPATH=$folder/go GOCACHE=$folder/cache GO111MODULE=off CGO_ENABLED=0
# What a release has, and its sources have not: the descriptions of all that the API knows.
go build -o "$folder/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
described=$(grep -rl --include='*.go' --exclude='*_test.go' '+k8s:openapi-gen=' pkg staging/src cmd |
    xargs -n1 dirname | grep -v 'kube-openapi\|/testdata\|code-generator\|sample-' | sort -u |
    sed 's#^staging/src/#vendor/#; s#^#k8s.io/kubernetes/#' | paste -sd,)
"$folder/openapi-gen" -i "$described" -p k8s.io/kubernetes/pkg/generated/openapi \
    -h hack/boilerplate/boilerplate.generatego.txt -O zz_generated.openapi \
    --output-base "$folder/go/src" -r "$folder/violations"
for program in "${programs[@]}"; do
    go build -o "$folder/bin/$program" "./cmd/$program"
done
cd "$folder"
rm -rf go cache lists
touch built
