#!/bin/sh
# Nodes of an earlier version, a tag or a commit, beside those of this one: builds it, and runs the tests of that.
set -eu
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "The tests make network namespaces: run them as root." >&2; exit 1; }
[ -n "${1:-}" ] || { echo "Name the earlier version: make versions EARLIER=v0.1.0 (a tag or a commit)." >&2; exit 1; }
scripts/packages.sh test

cargo="${CARGO:-cargo}"
target="${CARGO_TARGET_DIR:-target}"
export FULCRUM_BIN="${FULCRUM_BIN:-$(realpath -m "$target/release/fulcrum")}"
place=$(mktemp -d)
trap 'git worktree remove --force "$place/source" || true; rm -rf "$place"' EXIT
git worktree add --quiet --detach "$place/source" "$1"
(cd "$place/source" && CARGO_TARGET_DIR="$place/target" "$cargo" build --quiet --release --locked -p fulcrum)
"$cargo" build --quiet --release --locked -p fulcrum
export FULCRUM_EARLIER_BIN="$place/target/release/fulcrum"
"$cargo" test --quiet --locked -p fulcrum-tests --test versions -- --ignored --nocapture --test-threads 1
# In place, from a version that can: what lives through it.
if "$FULCRUM_EARLIER_BIN" upgrade-binary --help | grep -q -e --in-place; then
    "$cargo" test --quiet --locked -p fulcrum-tests --test in_place live_on -- --nocapture --test-threads 1
fi
