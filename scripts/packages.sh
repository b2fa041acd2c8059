#!/bin/sh
# Installs the Debian packages that are missing for: build, demo, kubernetes (the demo of it), terminal, test or bench. Says which. Does nothing if all are there.
set -eu

# What must exist, and the package that brings it.
build="cc:gcc /usr/include/stdio.h:libc6-dev make:make clang:clang"
demo="$build ip:iproute2 nft:nftables nginx:nginx-light"
kubernetes="$demo etcd:etcd-server curl:curl"
terminal="ssh:openssh-client /usr/sbin/sshd:openssh-server"
test="$demo c++:g++ ping:iputils-ping ethtool:ethtool sysctl:procps keepalived:keepalived /usr/lib/frr/vrrpd:frr faketime:faketime etcd:etcd-server /lib/systemd/systemd:systemd"
# What is seen to live through a leader's death.
test="$test $terminal curl:curl iperf3:iperf3 /usr/lib/python3/dist-packages/websockets:python3-websockets"
bench="$test haproxy:haproxy /usr/lib/nginx/modules/ngx_stream_module.so:libnginx-mod-stream"

PATH="$PATH:/usr/sbin:/sbin"
eval "wanted=\$$1"
missing=""
for pair in $wanted; do
    case "$pair" in
    /*) [ -e "${pair%%:*}" ] ;;
    *) command -v "${pair%%:*}" >/dev/null ;;
    esac || missing="$missing ${pair##*:}"
done
[ -n "$missing" ] || exit 0

install="apt-get install --yes --no-install-recommends$missing"
if [ "$(id -u)" != 0 ]; then
    echo "These Debian packages are missing:$missing" >&2
    echo "Install them as root, then try again:  apt-get update && $install" >&2
    exit 1
fi
echo "Installing from Debian:$missing"

# Debian starts a service when its package is installed. Here nobody wants a keepalived or an nginx on the machine itself:
# while apt runs, the policy says no, and afterwards the new services are not started at boot either.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq || echo "The lists of packages could not be refreshed; trying with the old ones." >&2
$install -qq
for package in $missing; do
    service="${package%-light}"
    [ "$package" != openssh-server ] || service=ssh
    if [ -e "/lib/systemd/system/$service.service" ] && command -v systemctl >/dev/null; then
        systemctl --quiet disable "$service.service" 2>/dev/null || true
    fi
done
