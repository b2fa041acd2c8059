#!/bin/sh
# Every check of the project, one after another; goes on after a failure and ends with a summary.
# FULCRUM_TEST_THREADS: labs at a time (2).
set -u
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "The tests make network namespaces: run them as root." >&2; exit 1; }

cargo="${CARGO:-cargo}"
target="${CARGO_TARGET_DIR:-target}"
export FULCRUM_BIN="${FULCRUM_BIN:-$(realpath -m "$target/release/fulcrum")}"
threads="${FULCRUM_TEST_THREADS:-2}"
summary=""
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

unit_tests() {
    "$cargo" test --quiet --no-fail-fast --workspace --exclude fulcrum-tests --locked
}

lab_tests() {
    "$cargo" test --locked --no-fail-fast -p fulcrum-tests -- --test-threads="$threads"
}

step "packages" scripts/packages.sh test
step "formatting" "$cargo" fmt --all --check
step "lints" "$cargo" clippy --quiet --workspace --all-targets --locked -- -D warnings
step "optimised binary" "$cargo" build --quiet --release --locked -p fulcrum
step "unit tests" unit_tests
step "whole nodes, in namespaces" lab_tests
step "fuzz targets, 5 seconds each" scripts/fuzz.sh 5
step "documentation" env RUSTDOCFLAGS="-D warnings" "$cargo" doc --quiet --workspace --no-deps --locked

echo
echo "=== summary"
printf '%s' "$summary"
if [ "$failed" = 0 ]; then echo "All passed."; else echo "$failed of the above failed."; fi
[ "$failed" = 0 ]
