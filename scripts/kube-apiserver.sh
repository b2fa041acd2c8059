#!/bin/sh
# Prints the directory of the kube-apiserver and the kubectl that the tests run, and builds them first if there are none:
# once for each state of tests/kube-apiserver/, outside of the tree. With --find it builds nothing.
# KUBEBUILDER_ASSETS: a directory that has both, used instead. GO: the go command.
set -eu
cd "$(dirname "$0")/.."
source=tests/kube-apiserver
version=$(sed -n 's,^\tk8s.io/kubernetes v,,p' "$source/go.mod")
wanted=$(sed -n 's/^go //p' "$source/go.mod")
# Obtained where the machine has none that is new enough. The sum was compared with that of an installation from elsewhere.
toolchain=go1.26.8
toolchain_sum=30c2b1bf7dcc88d3eb0a1364e47ddd9128edb3110a30e8a0ef61cd5856b31de7
stamp=k8s.io/component-base/version
options="-trimpath -buildvcs=false -gcflags=all=-dwarf=false"
flags="-s -w -X $stamp.gitVersion=v$version -X $stamp.gitMajor=${version%%.*} -X $stamp.gitMinor=$(echo "$version" | cut -d. -f2)"

say() { echo "$@" >&2; }
fail() {
    say "$@"
    say "Or set KUBEBUILDER_ASSETS to a directory that has kube-apiserver and kubectl, of Kubernetes 1.32 or later."
    exit 1
}
complete() { [ -x "$1/kube-apiserver" ] && [ -x "$1/kubectl" ]; }

if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
    complete "$KUBEBUILDER_ASSETS" || {
        say "KUBEBUILDER_ASSETS is $KUBEBUILDER_ASSETS, where kube-apiserver and kubectl are not both: correct it, or unset it."
        exit 1
    }
    realpath "$KUBEBUILDER_ASSETS"
    exit 0
fi
cache="${XDG_CACHE_HOME:-$HOME/.cache}/fulcrum"
state=$( (echo "$options $flags" && cat "$source/go.mod" "$source/go.sum" "$source"/*.go) | sha256sum | cut -c1-12)
result="$cache/kube-apiserver-$version-$state"

give() {
    # Those that nobody has asked for in a month go.
    touch "$result"
    find "$cache" -maxdepth 1 -name 'kube-apiserver-*' -mtime +30 -exec rm -rf {} +
    echo "$result"
    exit 0
}
if complete "$result"; then give; fi
[ "${1:-}" != --find ] || fail "This needs a kube-apiserver: run \`make kube-apiserver\`, which takes about ten minutes, once."

mkdir -p "$cache"
exec 9>"$cache/lock"
flock --nonblock 9 || { say "Another build of the kube-apiserver is at work: waiting for it."; flock 9; }
if complete "$result"; then give; fi
# What a killed build left, and what this one leaves.
work="$cache/building"
compiler=""
clean() {
    [ -z "$compiler" ] || kill "$compiler" 2>/dev/null || true
    rm -rf "$work"
}
clean
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
mkdir -p "$work/tmp"
free=$(df --output=avail -m "$work" | tail -1)
[ "$free" -ge 4096 ] || fail "Building the kube-apiserver takes 4 GB in $cache meanwhile; $free MB are free."

# A go that is new enough, or nothing.
find_go() {
    for go in ${GO:-} go /usr/local/go/bin/go; do
        found=$(GOTOOLCHAIN=local "$go" env GOVERSION 2>/dev/null | sed 's/^go//') || continue
        [ -n "$found" ] || continue
        if [ "$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -1)" = "$wanted" ]; then
            command -v "$go"
            return
        fi
    done
}
obtain_go() {
    [ "$(uname -m)" = x86_64 ] || fail "Building the kube-apiserver takes Go $wanted or later: install it from https://go.dev/dl, and set GO if it is not in PATH."
    say "No Go that is new enough: obtaining $toolchain (72 MB)."
    url="https://proxy.golang.org/golang.org/toolchain/@v/v0.0.1-$toolchain.linux-amd64.zip"
    curl --silent --show-error --fail --location --retry 3 --output "$work/go.zip" "$url" ||
        fail "$url could not be obtained. Install Go $wanted or later, or make that reachable."
    echo "$toolchain_sum  $work/go.zip" | sha256sum --check --quiet ||
        fail "What came from $url is not what it was when this was written: it is not used."
    python3 -m zipfile -e "$work/go.zip" "$work/go"
    rm "$work/go.zip"
    go="$work/go/golang.org/toolchain@v0.0.1-$toolchain.linux-amd64"
    chmod +x "$go"/bin/* "$go"/pkg/tool/*/*
    go="$go/bin/go"
}
go=$(find_go)
[ -n "$go" ] || obtain_go

say "Building the kube-apiserver of Kubernetes $version with $("$go" env GOVERSION): about ten minutes on two cores, once."
export GOTOOLCHAIN=local GOWORK=off CGO_ENABLED=0 GOFLAGS=-modcacherw
export GOMODCACHE="$work/modules" GOCACHE="$work/cache" GOTMPDIR="$work/tmp"
begin=$(date +%s)
nice "$go" build -C "$source" -v -mod=readonly $options -ldflags "$flags" \
    -o "$work/result/kube-apiserver" . >"$work/log" 2>&1 9>&- &
compiler=$!
while kill -0 "$compiler" 2>/dev/null; do
    sleep 1
    passed=$(($(date +%s) - begin))
    [ $((passed % 30)) != 0 ] || say "  $passed s: $(grep -vc '^go: ' "$work/log") packages"
done
wait "$compiler" || { tail -20 "$work/log" >&2; fail "The kube-apiserver could not be built; above is why. Its modules come from ${GOPROXY:-https://proxy.golang.org}."; }
compiler=""
# One binary, which is kubectl if it is called so.
ln -s kube-apiserver "$work/result/kubectl"
rm -rf "$result"
mv "$work/result" "$result"
say "Built in $(($(date +%s) - begin)) s, with $(du -sm "$work" | cut -f1) MB on the disk meanwhile; what stays takes $(du -sm "$result" | cut -f1) MB."
give
