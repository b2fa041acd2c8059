#!/bin/sh
# Builds the demo and runs it: as root as it is, else inside a user namespace, where the kernel allows that.
set -eu
cd "$(dirname "$0")/.."
target="${CARGO_TARGET_DIR:-target}"
demo="$target/release/fulcrum-demo"
export FULCRUM_BIN="${FULCRUM_BIN:-$(realpath -m "$target/release/fulcrum")}"
# Debian keeps ip, nft and nginx where only root looks.
export PATH="$PATH:/usr/sbin:/sbin"

case " $* " in
*" --kubernetes "*)
    scripts/packages.sh kubernetes
    # Said before anything is built, if there is none.
    scripts/kube-apiserver.sh --find >/dev/null
    ;;
*) scripts/packages.sh demo ;;
esac
"${CARGO:-cargo}" build --release --locked -p fulcrum -p fulcrum-tests --bin fulcrum --bin fulcrum-demo

if [ "$(id -u)" = 0 ]; then
    # Only root may load BPF, and so only then connections go on through a dead leader: a download, and a real terminal.
    scripts/packages.sh terminal || echo "Without ssh: the terminal is a plain connection." >&2
    exec "$demo" "$@"
fi
unshare -Urnm --map-root-user true 2>/dev/null || {
    echo "This kernel gives no user namespaces to ordinary users: run \`make demo\` as root." >&2
    exit 1
}
# Names of network namespaces live in /run; inside, there is a /run of our own.
exec unshare -Urnm --map-root-user sh -c 'mount -t tmpfs tmpfs /run && exec "$@"' demo "$demo" "$@"
