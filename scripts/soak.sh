#!/bin/sh
# The tests with their full counts. The result goes into docs/promises.md, between its marks.
set -u
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "The tests make network namespaces: run them as root." >&2; exit 1; }
scripts/packages.sh test || exit 1
scripts/kube-apiserver.sh || exit 1

cargo="${CARGO:-cargo}"
target="${CARGO_TARGET_DIR:-target}"
export FULCRUM_BIN="${FULCRUM_BIN:-$(realpath -m "$target/release/fulcrum")}"
export FULCRUM_STARTS="${FULCRUM_STARTS:-50}" FULCRUM_KILLS="${FULCRUM_KILLS:-100}"
export FULCRUM_SEEDS="${FULCRUM_SEEDS:-10000}"
flows="${FULCRUM_FLOWS:-1000}"
rate="${FULCRUM_RATE:-5000}"
unset FULCRUM_FLOWS FULCRUM_RATE
fuzz_seconds="${FULCRUM_FUZZ_SECONDS:-300}"
rows=""
failed=0

proof() {
    name="$1"
    shift
    echo "=== $name"
    begin=$(date +%s)
    if "$@"; then verdict=passed; else verdict=FAILED failed=1; fi
    rows="$rows| $name | $verdict | $(($(date +%s) - begin)) s |
"
}

"$cargo" build --quiet --release --locked -p fulcrum || exit 1
proof "both nodes started at once, $FULCRUM_STARTS times" \
    "$cargo" test --quiet --locked -p fulcrum-tests --test starts -- --nocapture
proof "SIGKILL at random moments under load, $FULCRUM_KILLS times" \
    "$cargo" test --quiet --locked -p fulcrum-tests --test kills -- --nocapture
proof "$flows active and as many idle connections through each fault of the forwarding plane" \
    env FULCRUM_FLOWS="$flows" \
    "$cargo" test --quiet --locked -p fulcrum-tests --test forwarding faults:: -- --test-threads=1 --nocapture
proof "the forwarding daemon killed, stopped and upgraded under $rate new connections a second" \
    env FULCRUM_RATE="$rate" \
    "$cargo" test --quiet --locked -p fulcrum-tests --test forwarding restarts:: -- --test-threads=1 --nocapture
proof "simulation, $FULCRUM_SEEDS seeds a test" \
    "$cargo" test --quiet --release --locked -p fulcrum-vip-manager --test simulation
proof "all whole-node tests, three times" sh -c '
    for round in 1 2 3; do "$0" test --quiet --locked -p fulcrum-tests -- --test-threads=2 || exit 1; done' "$cargo"
proof "each fuzz target, $fuzz_seconds seconds" scripts/fuzz.sh "$fuzz_seconds"

result="$(mktemp)"
trap 'rm -f "$result"' EXIT
{
    echo "Last run: $(date -u +%Y-%m-%d), Linux $(uname -r), $(nproc) cores."
    echo
    echo "| proof | result | took |"
    echo "|---|---|---|"
    printf '%s' "$rows"
} >"$result"
sed -i -e "/<!-- soak -->/r $result" -e '/<!-- soak -->/,/<!-- end of soak -->/{/<!--/!d}' docs/promises.md
cat "$result"
exit "$failed"
