#!/bin/sh
# Runs every fuzz target for so many seconds (10), on the stable toolchain: coverage without sanitizers.
# For longer hunts, with sanitizers, see fuzz/README.md.
set -eu
cd "$(dirname "$0")/.."
seconds="${1:-10}"
host="$(rustc -vV | sed -n 's/^host: //p')"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}/fuzz"
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions=yes -Coverflow-checks=yes"
RUSTFLAGS="--cfg fuzzing $coverage" "${CARGO:-cargo}" build --quiet --release --locked --target "$host" \
    --manifest-path fuzz/Cargo.toml
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
for source in fuzz/fuzz_targets/*.rs; do
    name="$(basename "$source" .rs)"
    mkdir -p "$work/$name"
    seeds=""
    if [ "$name" = config ]; then seeds=config/examples; fi
    if [ -d "fuzz/seeds/$name" ]; then seeds="fuzz/seeds/$name"; fi
    if "$CARGO_TARGET_DIR/$host/release/$name" "$work/$name" $seeds -max_total_time="$seconds" \
        -artifact_prefix="$work/" >"$work/$name.log" 2>&1; then
        echo "$name: $(sed -n 's/^Done \([0-9]*\) runs.*/\1/p' "$work/$name.log") inputs, none crashed it"
    else
        tail -n 30 "$work/$name.log"
        for found in "$work"/crash-* "$work"/timeout-* "$work"/oom-*; do
            if [ -e "$found" ]; then echo "$found:" && od -An -tx1 "$found" | head -n 20; fi
        done
        echo "$name: an input crashes it; its bytes stand above" >&2
        exit 1
    fi
done
