#!/usr/bin/env bash
# bench_dispatch and bench_train_step: rows, answers to requests, one sentence for bad input.
# Usage: bench_small.sh BENCH_DISPATCH BENCH_TRAIN_STEP
train_step=$(realpath "$2")
# shellcheck source=tests/integration/common.sh
. "$(dirname "$0")/common.sh"
dispatch=$exe
refuses() {  # PROGRAM OPTION..
  if "$@" > out.txt 2> err.txt; then fail "accepted ${*:2}"; fi
  [ "$(wc -l < err.txt)" = 1 ] || fail "not one sentence: $(cat err.txt)"
}

say "ops"
"$dispatch" --seconds 0.001 --json ops.json > table.txt || fail "$(cat table.txt)"
[ "$(grep -c '"ns_min"' ops.json)" = 8 ] || fail "not eight ops in ops.json"
grep -q '^add, recording a gradient ' table.txt || fail "the table has no row for a gradient"
refuses "$dispatch" --seconds 0
refuses "$dispatch" --json nodir/ops.json

say "training steps"
tiny=(--channels 8 --threads 1,2)
"$train_step" "${tiny[@]}" --batch 2,5 --seconds 0.001 --json steps.json > table.txt || fail "$(cat table.txt)"
[ "$(grep -c '"images_per_s"' steps.json)" = 4 ] || fail "not 2 batch sizes x 2 numbers of threads in steps.json"
grep -q '"share_of_peak"' steps.json || fail "steps.json has no share of the peak"
printf 'time 2 3\ntime 2 1\ntime 0 1\nnonsense\n' | "$train_step" "${tiny[@]}" --serve > answers.txt
[ "$(head -n 2 answers.txt | wc -w)" = 4 ] || fail "3 + 1 times were asked for, not: $(cat answers.txt)"
[ "$(grep -c '^error: a request is' answers.txt)" = 2 ] || fail "bad requests were answered: $(cat answers.txt)"
refuses "$train_step" --batch 0
refuses "$train_step" --serve --json steps.json
if "$train_step" "${tiny[@]}" --batch 2 --seconds 0.001 > /dev/full 2> err.txt; then fail "lost output is no failure"; fi
echo "all good"
