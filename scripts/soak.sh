#!/bin/sh
# The tests with their full counts: all, or those that are named. Their results go into docs/promises.md, between its marks.
set -u
cd "$(dirname "$0")/.."
all="starts kills faults restarts simulation whole fuzz"
chosen="${*:-$all}"
for name in $chosen; do
    case " $all " in *" $name "*) ;; *) echo "There is no proof '$name'. There are: $all." >&2; exit 2 ;; esac
done
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
rounds="${FULCRUM_ROUNDS:-3}"
failed=0
rows="$(mktemp)"
trap 'rm -f "$rows"' EXIT
sed -n '/<!-- soak -->/,/<!-- end of soak -->/{/^| [A-Z]/p}' docs/promises.md >"$rows"

# proof WHAT COUNT COMMAND...: its row takes the place of the one that it had.
proof() {
    what="$1" count="$2"
    shift 2
    echo "=== $what: $count"
    begin=$(date +%s)
    if "$@"; then verdict=passed; else verdict=FAILED failed=1; fi
    sed -i "/^| $what |/d" "$rows"
    echo "| $what | $count | $verdict | $(($(date +%s) - begin)) s | $(date -u +%Y-%m-%d) |" >>"$rows"
    write
}

# After each proof, so that a run that is ended early leaves what it has shown.
write() {
    result="$(mktemp)"
    {
        echo "Linux $(uname -r), $(nproc) cores."
        echo
        echo "| proof | count | result | took | on |"
        echo "|---|---|---|---|---|"
        sort "$rows"
    } >"$result"
    sed -i -e "/<!-- soak -->/r $result" -e '/<!-- soak -->/,/<!-- end of soak -->/{/<!--/!d}' docs/promises.md
    rm -f "$result"
}

tests() { "$cargo" test --quiet --locked -p fulcrum-tests "$@"; }

whole() {
    round=0
    while [ "$round" -lt "$rounds" ]; do
        tests -- --test-threads=2 || return 1
        round=$((round + 1))
    done
}

"$cargo" build --quiet --release --locked -p fulcrum || exit 1
for name in $chosen; do
    case "$name" in
    starts) proof "Both nodes started at once" "$FULCRUM_STARTS times" tests --test starts -- --nocapture ;;
    kills) proof "SIGKILL at random moments under load" "$FULCRUM_KILLS times" tests --test kills -- --nocapture ;;
    faults)
        export FULCRUM_FLOWS="$flows"
        proof "Active and as many idle connections through each fault of the forwarding plane" "$flows" \
            tests --test forwarding faults:: -- --test-threads=1 --nocapture
        unset FULCRUM_FLOWS
        ;;
    restarts)
        export FULCRUM_RATE="$rate"
        proof "The forwarding daemon killed, stopped and upgraded under new connections" "$rate a second" \
            tests --test forwarding restarts:: -- --test-threads=1 --nocapture
        unset FULCRUM_RATE
        ;;
    simulation)
        proof "Simulation of elections and of the pair" "$FULCRUM_SEEDS seeds a test" \
            "$cargo" test --quiet --release --locked -p fulcrum-vip-manager --test simulation
        ;;
    whole) proof "All whole-node tests" "$rounds times" whole ;;
    fuzz) proof "Each fuzz target" "$fuzz_seconds seconds" scripts/fuzz.sh "$fuzz_seconds" ;;
    esac
done
sed -n '/<!-- soak -->/,/<!-- end of soak -->/p' docs/promises.md
exit "$failed"
