#!/bin/sh
# Every check of the project, one after another; goes on after a failure and ends with a summary.
# FULCRUM_TEST_THREADS: labs at a time (3): most of their time they wait.
set -u
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "The tests make network namespaces: run them as root." >&2; exit 1; }

cargo="${CARGO:-cargo}"
target="${CARGO_TARGET_DIR:-target}"
export FULCRUM_BIN="${FULCRUM_BIN:-$(realpath -m "$target/release/fulcrum")}"
threads="${FULCRUM_TEST_THREADS:-3}"
summary=""
remarks=""
failed=0

step() {
    name="$1"
    shift
    echo
    echo "=== $name"
    begin=$(date +%s)
    if "$@"; then verdict=passed; else verdict=FAILED failed=$((failed + 1)); fi
    summary="$summary$(printf '  %-44s %-6s %5ss' "$name" "$verdict" "$(($(date +%s) - begin))")
"
}

# Runs tests. Where three or fewer fail, those are run once more by themselves, and the summary names them: time is part
# of what whole nodes do, and machines are shared. `make soak` forgives nothing.
tests() {
    log=$(mktemp)
    { "$@" 2>&1; echo "$?" >"$log.verdict"; } | tee "$log"
    verdict=$(cat "$log.verdict")
    names=$(sed -n 's/^test \([a-zA-Z0-9_:]*\) \.\.\. FAILED$/\1/p; s/^\([a-zA-Z0-9_:]*\) --- FAILED$/\1/p' "$log" | sort -u)
    targets=$(sed -n 's/^    `\(-p .*\)`$/\1/p; s/^error: test failed, to rerun pass `\(-p .*\)`$/\1/p' "$log" | sort -u)
    crashed=$(grep -c '(signal: ' "$log")
    rm -f "$log" "$log.verdict"
    [ "$verdict" != 0 ] || return 0
    count=$(echo "$names" | grep -c .)
    if [ "$crashed" != 0 ] || [ "$count" = 0 ] || [ "$count" -gt 3 ]; then return 1; fi
    echo "Failed, and run once more by themselves:" $names
    remarks="$remarks  failed once: $(echo $names)
"
    # Each target on its own line; its words are arguments, as is each name.
    echo "$targets" | while read -r failing; do
        "$cargo" test --locked $failing -- --test-threads=1 --exact $names </dev/null || exit 1
    done
}

unit_tests() {
    tests "$cargo" test --quiet --no-fail-fast --workspace --exclude fulcrum-tests --locked
}

lab_tests() {
    tests "$cargo" test --locked --no-fail-fast -p fulcrum-tests -- --test-threads="$threads"
}

step "packages" scripts/packages.sh test
step "kube-apiserver (built once)" scripts/kube-apiserver.sh
step "formatting" "$cargo" fmt --all --check
step "lints" "$cargo" clippy --quiet --workspace --all-targets --locked -- -D warnings
step "optimised binary" "$cargo" build --quiet --release --locked -p fulcrum
step "unit tests" unit_tests
step "whole nodes, in namespaces" lab_tests
step "fuzz targets, 5 seconds each" scripts/fuzz.sh 5
step "documentation" env RUSTDOCFLAGS="-D warnings" "$cargo" doc --quiet --workspace --no-deps --locked

echo
echo "=== summary"
printf '%s%s' "$summary" "$remarks"
if [ "$failed" = 0 ]; then echo "All passed."; else echo "$failed of the above failed."; fi
[ "$failed" = 0 ]
