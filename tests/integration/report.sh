#!/usr/bin/env bash
# Pictures and report.html, made of the logs of a results folder: whole ones, and damaged ones. Usage: report.sh
# PATH/TO/cifar_resnet
# shellcheck source=tests/integration/common.sh
. "$(dirname "$0")/common.sh"

say "a network, trained and quantized"
"$exe" train "${tiny[@]}" --out whole > whole.log
"$exe" ptq --data synthetic --limit-test 200 --calib 100 --model whole/resnet18.safetensors --out whole --threads 2 > ptq.log
mkdir broken

say "report"
[ -s whole/report.html ] || fail "ptq wrote no report.html"
mkdir before
for file in whole/report.html whole/*.png; do  # a build may have no pictures
  [ ! -e "$file" ] || mv "$file" before
done
"$exe" report --out whole > /dev/null
for file in before/*; do
  cmp "$file" "whole/${file#before/}" || fail "report draws another ${file#before/} than ptq and train did"
done
[ -s before/report.html ] && [ "$(find before -name '*.png' | wc -l)" = "$(find whole -name '*.png' | wc -l)" ] || fail "report drew: $(ls whole)"
refuses "holds no results" "$exe" report --out broken

say "what was said of a network goes with it"
cp -r whole again
echo '{"rows":[]}' > again/bench.json
"$exe" train "${short[@]}" --out again > again.log
for gone in quantization_benchmarks.json quantization_details.json bench.json confusion_matrix_quantized.png; do
  [ ! -e "again/$gone" ] || fail "$gone of an older network is still there"
done
grep -q previous.safetensors again.log && cmp -s whole/checkpoint/last.safetensors again/checkpoint/previous.safetensors ||
  fail "the checkpoint of the older run is gone"
[ -s again/report.html ] && grep -q '"machine"' again/summary.json || fail "the new run has no results"
! grep -q int8_accuracy again/summary.json || fail "summary.json has the int8 accuracy of an older network"
! grep -q '"int8_accuracy"' again/report.html || fail "report.html has the int8 accuracy of an older network"

say "logs that are damaged or of another program"
odd() { mkdir -p odd; cat > "odd/$1"; }
for numbers in "100000000000000000 1 100000000000000016 2" "1 1e300 1 1e300" "9223372036854775807 0 1 0"; do
  read -r e1 l1 e2 l2 <<< "$numbers"
  for pair in "$e1 $l1" "$e2 $l2"; do
    echo "{\"kind\":\"epoch\",\"epoch\":${pair% *},\"lr\":${pair#* },\"train_loss\":${pair#* }," \
      "\"train_accuracy\":1,\"test_loss\":1,\"test_accuracy\":1}"
  done | odd metrics.jsonl
  (limit_memory; timeout 60 "$exe" report --out odd > out.txt) || fail "report of epochs $e1 and $e2 with $l1 and $l2"
done
echo '{"kind":"epoch","epoch":1,"train_loss":1,"train_accuracy":1}' | odd metrics.jsonl
refuses "metrics.jsonl: line 1: 'test_loss'" "$exe" report --out odd
good='{"kind":"epoch","epoch":1,"lr":1,"train_loss":1,"train_accuracy":1,"test_loss":1,"test_accuracy":1}'
printf '%s\nnonsense\n%s\n' "$good" "$good" | odd metrics.jsonl
refuses "metrics.jsonl: line 2: is no JSON object" "$exe" report --out odd
step='{"kind":"step","step":50,"epoch":1,"loss":2,"accuracy":0.5,"lr":0.1,"images_per_s":9}'
printf '%s\n%s\n' "$good" "${step/\"loss\":2/\"loss\":null}" | odd metrics.jsonl
refuses "metrics.jsonl: line 2: 'loss'" "$exe" report --out odd
printf '%s\n{"cut' "$step" | odd metrics.jsonl
refuses "metrics.jsonl: has no line of a finished epoch" "$exe" report --out odd
printf '%s\n{"cut' "$good" | odd metrics.jsonl
"$exe" report --out odd > out.txt || fail "report does not take a last line that was cut off"
epochs=$(for e in 1 2; do sed "s/\"epoch\":1/\"epoch\":$e,\"step\":${e}00/" <<< "$good"; done)
for steps in "" "$step"; do
  printf '%s\n' "$epochs" $steps | odd metrics.jsonl
  "$exe" report --out odd > out.txt || fail "report does not take the steps '$steps'"
  [ ! -e odd/training_history.png ] || mv odd/training_history.png "odd/history${#steps}.png"
done
! cmp -s odd/history0.png "odd/history${#step}.png" || fail "steps do not change training_history.png"
rm odd/metrics.jsonl
for json in '[1]' '{"confusion":7}' '{"confusion":{"classes":["a"],"fp32":[-1],"int8":[1]},"layers":[]}' \
  '{"confusion":{"classes":["a"],"fp32":[1],"int8":[1]},"layers":[{"name":"a","fp32_bytes":1e300,"int8_bytes":1}]}' \
  '{"confusion":{"classes":["a"],"fp32":[1,2],"int8":[1]},"layers":[]}' "$(printf '{"a":%.0s' {1..100})"; do
  odd quantization_benchmarks.json <<< "$json"
  refuses "quantization_benchmarks.json" "$exe" report --out odd
done
rm odd/quantization_benchmarks.json
printf '%s\n' "$good" | odd metrics.jsonl
damage() {  # FILE FIELD SED-EXPRESSION: of a log that ptq or train wrote
  sed -E "$3" "whole/$1" | odd "$1"
  refuses "$1: is damaged: .*$2" "$exe" report --out odd
  rm "odd/$1"
}
damage summary.json fp32_accuracy 's/"fp32_accuracy": [0-9.]+/"fp32_accuracy": 7/'
damage quantization_details.json pixels 's/"pixels":"..../"pixels":"/'
damage quantization_details.json class 's/"class":[0-9]+/"class":10/'
damage quantization_details.json bins 's/"after":\[[0-9.]+,/"after":[/'
damage quantization_details.json 'last' 's/"last":[0-9]+/"last":1000/g'
damage quantization_details.json "piece of 'arena'" 's/"offset":[0-9]+/"offset":1/g; s/"arena_bytes":[0-9]+/"arena_bytes":1/; s/"bytes":[0-9]+/"bytes":1/g'
damage feature_maps.json channels 's/"width":[0-9]+/"width":3/'
damage feature_maps.json caption 's/"caption"/"title"/'
echo nonsense | odd metrics.jsonl
"$exe" train "${short[@]}" --out odd > out.txt || fail "a damaged log of an older run keeps a new one from writing its own: $(cat out.txt)"
echo '{"rows":[{"net":"fp64","batch":1,"threads":1,"ms_per_image":1}]}' | odd bench.json
refuses "bench.json: is damaged: 'net'" "$exe" report --out odd
rm odd/bench.json
for same in "true 1" "false 0"; do  # lines with the time
  echo "{\"same_network\":${same% *},\"rows\":[{\"net\":\"fp32\",\"batch\":1,\"threads\":1,\"ms_per_image\":4321.5}]}" |
    odd bench.json
  "$exe" report --out odd > out.txt
  [ "$(grep -c 4321.5 odd/report.html)" = "${same#* }" ] || fail "the times of two networks are compared, or of one are not"
done
rm odd/bench.json
for file in metrics.jsonl summary.json quantization_details.json; do
  printf '%s\n' "$good" | odd metrics.jsonl
  truncate -s 3G odd/$file
  (limit_memory; refuses "$file: has 3221225472 bytes; at most" "$exe" report --out odd)
  rm odd/$file
done
rm -f odd/metrics.jsonl
mkfifo odd/metrics.jsonl
refuses "metrics.jsonl: is not a regular file" timeout 60 "$exe" report --out odd
echo "all good"
