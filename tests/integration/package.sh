#!/usr/bin/env bash
# Builds and runs examples/consumer against what a build tree installs, after that has moved, with the source tree out of
# sight: an installed mininn needs nothing but itself and the system. Usage: package.sh BUILD_FOLDER
set -euo pipefail
source=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "$1" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }

cmake --install "$build" --prefix "$dir/first" > "$dir/log"
mv "$dir/first" "$dir/moved"
cp -r "$source/examples/consumer" "$dir/consumer"
cd "$dir"
export MININN_CACHE_DIR="$dir/cache"
if grep -rnF -e "$source" -e "$build" -e "$(realpath "$source/third_party")" moved --include='*.cmake'; then
  fail "the installed package names its source or build tree"
fi

out_of_sight=()  # where the system lets us: an empty folder lies over the source tree
if unshare --user --map-root-user --mount true 2> /dev/null; then
  # shellcheck disable=SC2016
  out_of_sight=(unshare --user --map-root-user --mount bash -c
                'for tree in "$0" "$1"; do [ ! -d "$tree" ] || mount -t tmpfs none "$tree"; done; exec "${@:2}"'
                "$source" "$(realpath "$source/third_party")")
fi
"${out_of_sight[@]}" cmake -S consumer -B built -DCMAKE_PREFIX_PATH="$dir/moved" > log || fail "$(cat log)"
"${out_of_sight[@]}" cmake --build built > log || fail "$(cat log)"
"${out_of_sight[@]}" built/consumer
needed=$(ldd built/consumer)
if grep -F -e "not found" -e "$source" -e "$build" <<< "$needed"; then fail "the consumer needs what is not installed"; fi
