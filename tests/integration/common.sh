# What the tests of a program begin with, in a folder of their own. The program is $1.
set -euo pipefail
exe=$(realpath "$1")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export MININN_CACHE_DIR="$dir/cache"  # measured kernel times of the tiny networks are nothing for the user's own cache

fail() { echo "FAILED: $*" >&2; exit 1; }
say() { printf -- '-- %s\n' "$*"; }
limit_memory() { [ "${MININN_SANITIZED:-}" ] || ulimit -v 1000000; }  # a sanitizer maps address space without end
refuses() {  # PATTERN COMMAND...
  local pattern=$1
  shift
  if "$@" > out.txt 2> err.txt; then fail "accepted: $*"; fi
  grep -qi -- "$pattern" err.txt out.txt || fail "$* said: $(cat err.txt)"
  [ "$(grep -c . err.txt)" -le 2 ] || fail "$* said more than a sentence: $(cat err.txt)"
}
base=(--data synthetic --limit-train 640 --limit-test 200 --width 0.125 --batch-size 64 --seed 7)
tiny=("${base[@]}" --epochs 3 --threads 2)
short=(--data synthetic --limit-train 64 --limit-test 10 --width 0.125 --epochs 1)
