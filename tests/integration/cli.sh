#!/usr/bin/env bash
# The example program from outside: a tiny network on synthetic data, killed and resumed, quantized, evaluated every way,
# and fed with bad input. Usage: cli.sh PATH/TO/cifar_resnet
set -euo pipefail
exe=$(realpath "$1")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export MININN_CACHE_DIR="$dir/cache"  # measured kernel times of the tiny networks are nothing for the user's own cache

fail() { echo "FAILED: $*" >&2; exit 1; }
say() { printf -- '-- %s\n' "$*"; }
tiny=(--data synthetic --limit-train 640 --limit-test 200 --width 0.125 --epochs 3 --batch-size 64 --threads 2 --seed 7)

say "an uninterrupted run"
"$exe" train "${tiny[@]}" --out whole > whole.log
for f in resnet18.safetensors metrics.jsonl summary.json checkpoint/last.safetensors; do
  [ -s "whole/$f" ] || fail "train wrote no $f"
done

say "killed at random moments and resumed: the same weights, bit for bit"
for attempt in 1 2 3 4 5 6 7 8 9 10 11 12 done; do
  if [ "$attempt" = done ]; then
    "$exe" train "${tiny[@]}" --out killed --resume > killed.log
    break
  fi
  "$exe" train "${tiny[@]}" --out killed --resume > killed.log &
  pid=$!
  sleep "0.$((RANDOM % 9 + 1))"
  kill -9 $pid 2> /dev/null || true
  wait $pid 2> /dev/null && break
done
cmp whole/resnet18.safetensors killed/resnet18.safetensors || fail "the resumed run ended with other weights"

say "interrupted with Ctrl-C in the middle of an epoch and resumed"
"$exe" train "${tiny[@]}" --out stopped > stopped.log 2> stopped.err &
pid=$!
sleep 0.6
kill -INT $pid 2> /dev/null || true
wait $pid || grep -q -- --resume stopped.err || fail "Ctrl-C gave no clear sentence: $(cat stopped.err)"
"$exe" train "${tiny[@]}" --out stopped --resume > stopped.log
cmp whole/resnet18.safetensors stopped/resnet18.safetensors || fail "the run resumed after Ctrl-C ended with other weights"

say "quantize"
"$exe" ptq --data synthetic --limit-test 200 --calib 100 --model whole/resnet18.safetensors --out whole --threads 2 > ptq.log
[ -s whole/resnet18_int8.safetensors ] || fail "ptq wrote no int8 file"
grep -q "kernels measured" ptq.log || grep -q "own.direct.scalar" ptq.log || fail "ptq measured no kernels"
grep -q '"int8_mac_coverage": 1.0' whole/summary.json || fail "not every MAC is int8"

say "the int8 logits are the same bytes whatever the threads, the batch and the kernel"
hash_of() {
  "$exe" eval --data synthetic --limit-test 200 --model whole/resnet18_int8.safetensors --json eval.json "$@" > /dev/null
  sed -n 's/.*"logits_sha256": "\([0-9a-f]*\)".*/\1/p' eval.json
}
expected=$(hash_of --threads 1 --batch-size 200)
[ ${#expected} = 64 ] || fail "eval gave no hash"
for options in "--threads 2" "--threads 2 --batch-size 1" "--threads 1 --batch-size 7"; do
  # shellcheck disable=SC2086
  [ "$(hash_of $options)" = "$expected" ] || fail "other logits with $options"
done
"$exe" kernels > kernels.txt
while read -r kernel; do  # others stand in where it refuses a layer
  hash=$(MININN_VERBOSE=dispatch hash_of --kernel "qconv2d=$kernel,own.direct.avx2,own.direct.scalar" 2> err.txt) ||
    fail "$kernel: $(tail -n 1 err.txt)"
  [ "$hash" = "$expected" ] || fail "other logits with $kernel"
  echo "   $kernel: $(grep -c "qconv2d runs $kernel" err.txt || true) layers, equal"
done < kernels.txt
[ "$(wc -l < kernels.txt)" -ge 2 ] || fail "fewer than two int8 kernels to compare"

say "bad input: one sentence, exit status not 0, nothing lost"
refuses() {  # PATTERN COMMAND...
  local pattern=$1
  shift
  if "$@" > out.txt 2> err.txt; then fail "accepted: $*"; fi
  grep -qi -- "$pattern" err.txt out.txt || fail "$* said: $(cat err.txt)"
  [ "$(grep -c . err.txt)" -le 2 ] || fail "$* said more than a sentence: $(cat err.txt)"
}
before=$(sha256sum whole/checkpoint/last.safetensors)
refuses "no-such-option" "$exe" train --no-such-option
refuses "batch-size" "$exe" train --batch-size 0
refuses "nowhere" "$exe" train --data /nowhere --out whole
refuses "nowhere" "$exe" eval --model nowhere.safetensors --data synthetic
refuses "cuda" "$exe" eval --model whole/resnet18.safetensors --data synthetic --device cuda:99
refuses "observer" "$exe" ptq --observer nonsense --data synthetic --limit-test 10 --model whole/resnet18.safetensors --out bad
refuses "lr" "$exe" train "${tiny[@]}" --lr 0.2 --out whole --resume
head -c 5000 whole/resnet18.safetensors > truncated.safetensors
refuses "truncated.safetensors" "$exe" eval --model truncated.safetensors --data synthetic
head -c 5000 whole/resnet18_int8.safetensors > truncated8.safetensors
refuses "truncated8.safetensors" "$exe" eval --model truncated8.safetensors --data synthetic
mkdir broken
head -c 1000 /dev/zero > broken/data_batch_1.bin
refuses "data_batch_1.bin" "$exe" train --data broken
[ "$before" = "$(sha256sum whole/checkpoint/last.safetensors)" ] || fail "bad input changed the checkpoint"

say "report"
[ -s whole/report.html ] || fail "ptq wrote no report.html"
rm whole/report.html
"$exe" report --out whole > /dev/null
[ -s whole/report.html ] || fail "report wrote no report.html"
refuses "holds no results" "$exe" report --out broken

say "bench"
"$exe" bench --model whole/resnet18.safetensors --int8 whole/resnet18_int8.safetensors --batch 1,4 --threads 1 --json bench.json > /dev/null
grep -q '"ms_per_image"' bench.json || fail "bench wrote no rows"
echo "all good"
