#!/usr/bin/env bash
# Compiles every given header alone, twice in one unit (so a missing guard shows), with warnings as errors, and with no
# other file of the project in reach: that is what an installed header has.
# usage: headers.sh COMPILER ROOT "FLAGS" HEADER...
set -u
export CXX=$1 ROOT=$2 FLAGS=$3
shift 3
[ $# -gt 0 ] || { echo "no headers were given"; exit 1; }

PUBLIC=$(mktemp -d) || exit 1
export PUBLIC
trap 'rm -rf "$PUBLIC"' EXIT
for header in "$@"; do
  mkdir -p "$PUBLIC/$(dirname "${header#"$ROOT"/}")" && cp "$header" "$PUBLIC/${header#"$ROOT"/}" || exit 1
done

compile() {
  local name=${1#"$ROOT"/}
  # shellcheck disable=SC2086  # FLAGS is a list
  printf '#include "%s"\n#include "%s"\n' "$name" "$name" |
    $CXX $FLAGS -Werror -I"$PUBLIC" -fsyntax-only -x c++ - || { echo "does not compile alone: $name"; exit 1; }
}
export -f compile

printf '%s\0' "$@" | xargs -0 -n 1 -P "$(nproc)" bash -c 'compile "$0"' || exit 1
echo "$# headers compile alone"
