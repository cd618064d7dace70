#!/usr/bin/env bash
# bench_net on a tiny network and on its own: rows, equal answers on any number of threads, one sentence for bad input; and
# beside other programs, where scripts/setup --peers has installed them.
# Usage: bench_net.sh BENCH_NET CIFAR_RESNET ROOT
cifar_resnet=$(realpath "$2") root=$(realpath "$3")
# shellcheck source=tests/integration/common.sh
. "$(dirname "$0")/common.sh"
bench=$exe

say "a tiny network"
"$cifar_resnet" train --data synthetic --limit-train 64 --limit-test 50 --width 0.125 --epochs 1 --batch-size 32 --out net > log.txt
"$cifar_resnet" ptq --data synthetic --limit-test 50 --calib 50 --model net/resnet18.safetensors --out net > log.txt
files=(--model net/resnet18.safetensors --int8 net/resnet18_int8.safetensors)

say "every row is there, and every result right"
"$bench" "${files[@]}" --batch 1,5,33 --threads 1,2 --seconds 0.01 --json rows.json > table.txt || fail "$(cat table.txt)"
[ "$(grep -c '"ms_per_image"' rows.json)" = 12 ] || fail "not 2 networks x 3 batch sizes x 2 numbers of threads in rows.json"
for key in load_ms first_ms steady_ms dot_gmac_per_s gmac_per_s share_of_peak ms_per_image_min ms_per_image_p90; do
  grep -q "\"$key\"" rows.json || fail "rows.json has no $key"
done
grep -q '^int8 .* 33 ' table.txt || fail "the table has no row for int8, batch 33"

say "requests"
head -c $((7 * 3072)) /dev/urandom > images.bin
serve() { "$bench" "${files[@]}" --serve --threads "$1"; }
printf 'time int8 2 3\ntime fp32 1 1\n' | serve 1 > times.txt
[ "$(wc -w < times.txt)" = 4 ] || fail "3 + 1 times were asked for, not: $(cat times.txt)"
for threads in 1 2; do echo "logits int8 images.bin" | serve $threads > "logits$threads.txt"; done
[ "$(wc -w < logits1.txt)" = 70 ] || fail "7 images have 70 logits, not: $(cat logits1.txt)"
cmp logits1.txt logits2.txt || fail "other int8 logits on two threads"
printf 'nonsense\ntime int8 0 1\ntime int9 1 1\nlogits int8 nowhere.bin\n' | serve 1 > errors.txt
[ "$(grep -c '^error: ' errors.txt)" = 4 ] || fail "bad requests were answered: $(cat errors.txt)"

say "without files"
"$bench" --batch 1 --threads 1 --seconds 0.01 > table.txt || fail "$(cat table.txt)"
grep -q '^int8 ' table.txt || fail "no int8 row: $(cat table.txt)"

say "bad input"
if "$bench" --int8 nowhere.safetensors > out.txt 2> err.txt; then fail "accepted a file that is not there"; fi
grep -q nowhere.safetensors err.txt || fail "the missing file is not named: $(cat err.txt)"
for options in "--seconds nan" "--batch 99999999999" "--json nodir/rows.json"; do
  # shellcheck disable=SC2086
  if "$bench" "${files[@]}" $options > out.txt 2> err.txt; then fail "accepted $options"; fi
done
cp net/resnet18.safetensors same.safetensors
if "$bench" --model same.safetensors --json ./same.safetensors > out.txt 2> err.txt; then fail "wrote over its input"; fi
grep -q -- "--model and --json are the same file" err.txt || fail "the same file twice: $(cat err.txt)"
cmp net/resnet18.safetensors same.safetensors || fail "the network is gone"
if "$bench" "${files[@]}" --batch 1 --threads 1 --seconds 0.01 > /dev/full 2> err.txt; then fail "lost output is no failure"; fi

if [ -x "$root/.venv/bin/python" ]; then
  say "beside other programs"
  "$root/.venv/bin/python" "$root/bench/peers/compare.py" "${files[@]}" --program "$bench" --batch 1,4 --threads 1 \
    --seconds 0.01 --check 64 --json peers.json > peers.txt || fail "$(cat peers.txt)"
  # PyTorch, where it is installed, has more rows of fp32.
  [ "$(grep -c '"net": "int8"' peers.json)" = 8 ] || fail "not 2 x 4 rows of int8 in peers.json"
  [ "$(grep -c '"net": "fp32"' peers.json)" -ge 6 ] || fail "not 2 x 3 rows of fp32 in peers.json"
  for key in ms_per_image p50 p95 p99 images_per_s; do
    [ "$(grep -c "\"$key\"" peers.json)" -ge 14 ] || fail "peers.json: not every row has $key"
  done
  # The fp32 twin is the same network, so its logits are.
  same() { [ "$(grep -cE 'fp32 (ONNX Runtime|OpenVINO) .* 100.00%, logits differ by   0.00%' peers.txt)" = 2 ] || fail "$(cat peers.txt)"; }
  same
  for arch in vgg11 mobilenetv2; do
    "$cifar_resnet" train --data synthetic --limit-train 64 --limit-test 50 --arch $arch --width 0.125 --epochs 1 --batch-size 32 --out $arch > log.txt
    "$cifar_resnet" ptq --data synthetic --limit-test 50 --calib 50 --model $arch/$arch.safetensors --out $arch > log.txt
    "$root/.venv/bin/python" "$root/bench/peers/compare.py" --model $arch/$arch.safetensors --int8 $arch/${arch}_int8.safetensors \
      --program "$bench" --batch 1 --threads 1 --seconds 0.01 --check 64 > peers.txt || fail "$(cat peers.txt)"
    same
  done
fi
echo "all good"
