#!/usr/bin/env bash
# Builds kube-apiserver and etcd from their published Go modules: the real server that the store is held to.
# Usage: tools/cluster/build.sh [OUT]. Needs Go 1.24 or newer; about five minutes the first time, two cores.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/forebay/cluster-tools}
kube=1.34.4 etcd=3.6.4
mkdir -p "$out"
export CGO_ENABLED=0

cd "$here/kube"
if [ ! -f go.mod ]; then # only to move to another version: remove go.mod and go.sum first
  go mod init forebay.test/kube
  mod=$(go mod download -json "k8s.io/kubernetes@v$kube" | python3 -c 'import json,sys; print(json.load(sys.stdin)["GoMod"])')
  # k8s.io/kubernetes requires its staging modules as v0.0.0
  sed -n 's#^\t*\(replace \)\?\(k8s.io/[a-z-]*\) => ./staging/.*#\2#p' "$mod" |
    while read -r m; do go mod edit -replace="$m=$m@v0.${kube#1.}"; done
  go mod edit -require="k8s.io/kubernetes@v$kube" -tool=k8s.io/kubernetes/cmd/kube-apiserver
  go mod tidy
fi
flags="-s -w"
for p in k8s.io/component-base/version k8s.io/client-go/pkg/version; do # clients parse what the server calls itself
  flags="$flags -X $p.gitVersion=v$kube -X $p.gitMajor=1 -X $p.gitMinor=34 -X $p.gitTreeState=clean"
done
go build -trimpath -ldflags "$flags" -o "$out/kube-apiserver" k8s.io/kubernetes/cmd/kube-apiserver

cd "$here/etcd"
if [ ! -f go.mod ]; then
  go mod init forebay.test/etcd
  go get -tool "go.etcd.io/etcd/server/v3@v$etcd"
  go mod tidy
fi
go build -trimpath -ldflags '-s -w' -o "$out/etcd" go.etcd.io/etcd/server/v3
echo "kube-apiserver v$kube and etcd v$etcd are in $out"
