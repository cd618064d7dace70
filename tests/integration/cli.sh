#!/usr/bin/env bash
# The example program from outside: a tiny network on synthetic data, killed and resumed, quantized, evaluated every way,
# and fed with bad input. Usage: cli.sh PATH/TO/cifar_resnet
# shellcheck source=tests/integration/common.sh
. "$(dirname "$0")/common.sh"

training() {  # LOG: waits until the run that writes it has begun, or has ended
  until grep -qs "parameters" "$1" || ! kill -0 $pid 2> /dev/null; do sleep 0.05; done
  sleep 0.3
}

say "an uninterrupted run"
"$exe" train "${tiny[@]}" --out whole > whole.log
for f in resnet18.safetensors metrics.jsonl summary.json checkpoint/last.safetensors; do
  [ -s "whole/$f" ] || fail "train wrote no $f"
done

say "another network, for as long as is said"
nine=(train --data synthetic --limit-test 50 --arch resnet9 --width 0.0625 --recipe fast --threads 2)
"$exe" "${nine[@]}" --minutes 0.02 --out nine > nine.log
chosen=$(sed -nE 's/^[0-9]+ images\/s: in 0.02 minutes (--epochs [1-9][0-9]* --limit-train [1-9][0-9]*)$/\1/p' nine.log)
[ -n "$chosen" ] || fail "--minutes chose nothing"
grep -q "^ResNet-9, 26350 parameters" nine.log || fail "--arch chose nothing"
read -ra chosen <<< "$chosen"
"$exe" "${nine[@]}" "${chosen[@]}" --out nine2 > nine2.log
cmp nine/resnet9.safetensors nine2/resnet9.safetensors || fail "what --minutes chose trains another network"
"$exe" ptq --data synthetic --limit-test 50 --calib 20 --model nine/resnet9.safetensors --out nine > nine8.log
for f in resnet9 resnet9_int8; do
  "$exe" eval --data synthetic --limit-test 50 --model nine/$f.safetensors > /dev/null || fail "eval cannot read $f"
done
grep -q '"int8_mac_coverage": 1.0' nine/summary.json || fail "a layer of ResNet-9 has no int8 form"
grep -q "<h1>ResNet-9 on synthetic images</h1>" nine/report.html || fail "the report is of another network"

say "every other network: trained, resumed, quantized and evaluated, of a width that fits no vector"
for arch in resnet50 vgg11 mobilenetv2; do
  other=(--data synthetic --limit-test 20)
  few=("${other[@]}" --arch $arch --limit-train 40 --batch-size 20 --width 0.08 --threads 1 --out $arch)
  "$exe" train "${few[@]}" --epochs 1 --amp > other.log
  "$exe" train "${few[@]}" --epochs 2 --amp --resume > other.log || fail "$arch is not resumed"
  "$exe" ptq "${other[@]}" --calib 20 --min-coverage 0.95 --model $arch/$arch.safetensors --out $arch > other.log ||
    fail "$arch: $(tail -n 1 other.log)"
  for f in $arch ${arch}_int8; do
    "$exe" eval "${other[@]}" --model $arch/$f.safetensors > other.log || fail "eval cannot read $f"
  done
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
set -m  # else a job in the background ignores SIGINT
"$exe" train "${tiny[@]}" --out stopped > stopped.log 2> stopped.err &
pid=$!
set +m
training stopped.log
kill -INT $pid 2> /dev/null || true
wait $pid || grep -q -- --resume stopped.err || fail "Ctrl-C gave no clear sentence: $(cat stopped.err)"
"$exe" train "${tiny[@]}" --out stopped --resume > stopped.log
cmp whole/resnet18.safetensors stopped/resnet18.safetensors || fail "the run resumed after Ctrl-C ended with other weights"

say "mixed precision: another network that learns as well, and no resuming in the other precision"
"$exe" train "${tiny[@]}" --amp --out mixed > mixed.log
grep -q "mixed precision" mixed.log || fail "train does not say that it uses mixed precision"
cmp -s whole/resnet18.safetensors mixed/resnet18.safetensors && fail "--amp changes nothing"
accuracy() { sed -n 's/^test accuracy \([0-9]*\).*/\1/p' "$1"; }
[ "$(accuracy mixed.log)" -ge $(($(accuracy whole.log) - 25)) ] || fail "--amp learns nothing: $(tail -1 mixed.log)"
"$exe" train "${tiny[@]}" --out mixed --resume > mixed.log 2>&1 && fail "a run was resumed in another precision"
grep -q "made with amp true, this run has false" mixed.log || fail "no clear sentence: $(tail -1 mixed.log)"
"$exe" train "${tiny[@]}" --amp --out mixed --resume --save-dtype bf16 > half.log
[ $(($(stat -c %s mixed/resnet18.safetensors) * 19)) -lt $(($(stat -c %s whole/resnet18.safetensors) * 10)) ] || fail "--save-dtype bf16 saves little"
mkdir -p older/checkpoint  # of a program that knew no --amp
LC_ALL=C sed 's/amp\\":/amq\\":/' whole/checkpoint/last.safetensors > older/checkpoint/last.safetensors
cmp -s whole/checkpoint/last.safetensors older/checkpoint/last.safetensors && fail "a checkpoint does not say its amp"
"$exe" train "${tiny[@]}" --amp --out older --resume > older.log 2>&1 && fail "an fp32 run was resumed in mixed precision"
grep -q "made with amp false, this run has true" older.log || fail "no clear sentence: $(tail -1 older.log)"

say "beginning with the values of a file"
"$exe" train "${base[@]}" --epochs 1 --threads 2 --init whole/resnet18.safetensors --out begun > begun.log
first_loss() { grep '"kind":"epoch"' "$1/metrics.jsonl" | head -1 | sed -nE 's/.*"train_loss":([0-9.]+).*/\1/p'; }
awk -v begun="$(first_loss begun)" -v whole="$(first_loss whole)" 'BEGIN { exit !(begun < 0.9 * whole) }' ||
  fail "--init helps nothing: loss $(first_loss begun) after $(first_loss whole)"
"$exe" train "${base[@]}" --epochs 1 --threads 2 --out begun --resume > begun.log 2>&1 && fail "a run was resumed without its --init"
grep -q "was made with init" begun.log || fail "no clear sentence: $(tail -1 begun.log)"

say "asked to end by the system: the same, with the signal in the exit status; an ignored signal stays ignored"
for signal in HUP TERM; do
  rm -rf asked asked.log
  "$exe" train "${tiny[@]}" --out asked > asked.log 2> asked.err &
  pid=$!
  training asked.log
  kill -$signal $pid 2> /dev/null || true
  kill -$signal $pid 2> /dev/null || true  # as timeout(1) does
  status=0
  wait $pid || status=$?
  [ $status = 0 ] || { [ $status = $((128 + $(kill -l $signal))) ] && grep -q -- --resume asked.err; } ||
    fail "SIG$signal gave status $status: $(cat asked.err)"
done
"$exe" train "${tiny[@]}" --out asked --resume > asked.log
cmp whole/resnet18.safetensors asked/resnet18.safetensors || fail "the run resumed after SIGTERM ended with other weights"
rm asked.log
(trap '' INT HUP; exec "$exe" train "${base[@]}" --epochs 1 --threads 2 --out ignoring > asked.log 2> asked.err) &
pid=$!
training asked.log
kill -INT $pid 2> /dev/null || true
kill -HUP $pid 2> /dev/null || true  # under nohup(1)
wait $pid || fail "an ignored signal ended the run: $(cat asked.err)"

say "quantize"
"$exe" ptq --data synthetic --limit-test 200 --calib 100 --model whole/resnet18.safetensors --out whole --threads 2 > ptq.log
[ -s whole/resnet18_int8.safetensors ] || fail "ptq wrote no int8 file"
"$exe" train "${base[@]}" --epochs 1 --threads 2 --init whole/resnet18_int8.safetensors --out from_int8 > from_int8.log
awk -v begun="$(first_loss from_int8)" -v whole="$(first_loss whole)" 'BEGIN { exit !(begun < 0.9 * whole) }' ||
  fail "--init of an int8 network helps nothing: loss $(first_loss from_int8) after $(first_loss whole)"
grep -qE "own\..* [0-9]+\.[0-9]+x$" ptq.log || grep -q "ref" ptq.log || fail "ptq measured no kernels"
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
  hash=$(MININN_VERBOSE=dispatch hash_of --kernel "qconv2d=$kernel,own.direct.avx2,ref" 2> err.txt) ||
    fail "$kernel: $(tail -n 1 err.txt)"
  [ "$hash" = "$expected" ] || fail "other logits with $kernel"
  echo "   $kernel: $(grep -c "qconv2d runs $kernel" err.txt || true) layers, equal"
done < kernels.txt
[ "$(wc -l < kernels.txt)" -ge 2 ] || fail "fewer than two int8 kernels to compare"

say "bad input: one sentence, exit status not 0, nothing lost"
before=$(sha256sum whole/checkpoint/last.safetensors)
refuses "no-such-option" "$exe" train --no-such-option
refuses "batch-size" "$exe" train --batch-size 0
refuses "nowhere" "$exe" train --data /nowhere --out whole
refuses "nowhere" "$exe" eval --model nowhere.safetensors --data synthetic
refuses "cuda" "$exe" eval --model whole/resnet18.safetensors --data synthetic --device cuda:99
refuses "observer" "$exe" ptq --observer nonsense --data synthetic --limit-test 10 --model whole/resnet18.safetensors --out bad
refuses "lr" "$exe" train "${tiny[@]}" --lr 0.2 --out whole --resume
refuses "whole/resnet18.safetensors" "$exe" train "${tiny[@]}" --arch resnet9 --init whole/resnet18.safetensors --out bad
refuses "whole/resnet18_int8.safetensors: unfold: the int8 network has no layer" "$exe" train "${tiny[@]}" --arch resnet9 --init whole/resnet18_int8.safetensors --out bad
refuses "nowhere" "$exe" train "${tiny[@]}" --init nowhere --out bad
refuses "are the same file" "$exe" train "${tiny[@]}" --init whole/resnet18.safetensors --out whole
head -c 5000 whole/resnet18.safetensors > truncated.safetensors
refuses "truncated.safetensors" "$exe" eval --model truncated.safetensors --data synthetic
head -c 5000 whole/resnet18_int8.safetensors > truncated8.safetensors
refuses "truncated8.safetensors" "$exe" eval --model truncated8.safetensors --data synthetic
mkdir broken
head -c 1000 /dev/zero > broken/data_batch_1.bin
refuses "data_batch_1.bin" "$exe" train --data broken
for options in "--width nan" "--lr nan" "--lr inf" "--momentum nan" "--weight-decay nan" "--warmup nan"; do
  # shellcheck disable=SC2086
  refuses "${options% *}: '${options#* }' is no number in" "$exe" train --data synthetic --out bad $options
done
for options in "--seed -1" "--seed 99999999999999999999" "--epochs 9223372036854775807" "--epochs 99999999999999999999" \
  "--epochs 1.5" "--epochs 1e3" "--epochs abc" "--epochs 0x10" "--batch-size 9223372036854775807" "--limit-train -1" \
  "--val-split 99999999999999999999" "--threads 1e9"; do
  # shellcheck disable=SC2086
  refuses "${options% *}: '${options#* }' is no whole number in" "$exe" train --data synthetic --out bad $options
done
for options in "--max-drop nan" "--min-coverage nan" "--calib -5"; do
  # shellcheck disable=SC2086
  refuses "${options% *}: .* is no .*number" "$exe" ptq --data synthetic --model whole/resnet18.safetensors --out bad $options
done
refuses "batch: '99999999999' is no whole number" "$exe" bench --model whole/resnet18.safetensors --batch 1,99999999999
for command in "train --data" "train --out" "train --model" "eval --model" "eval --json" "ptq --model" "ptq --out" \
  "bench --model" "bench --int8" "bench --json" "report --out"; do
  # shellcheck disable=SC2086
  refuses "${command#* }: the path is empty" "$exe" $command ''
done
refuses "--val-split 640: holding out 640 of 640" "$exe" train "${tiny[@]}" --out bad --val-split 640
refuses "--early-stop with --val-split 5000: " "$exe" train "${tiny[@]}" --out bad --early-stop 1
refuses "--calib 60000: 60000 images need" "$exe" ptq --data synthetic --calib 60000 --model whole/resnet18.safetensors --out bad
for kernel in "qconv2d=," "qconv2d=ref," "qconv2d" "=" ""; do
  refuses "--kernel '$kernel': write op=kernel" "$exe" eval --data synthetic --model whole/resnet18_int8.safetensors --kernel "$kernel"
done
refuses "fp32 network, which runs no qconv2d" "$exe" eval --data synthetic --model whole/resnet18.safetensors --kernel qconv2d=ref
refuses "int8 network, which runs no conv2d_fwd" "$exe" eval --data synthetic --model whole/resnet18_int8.safetensors --kernel conv2d_fwd=ref
refuses "holds an int8 network" "$exe" ptq --data synthetic --model whole/resnet18_int8.safetensors --out bad
refuses "holds an int8 network" "$exe" bench --model whole/resnet18_int8.safetensors

say "messages are short, whatever was typed, and drive no terminal"
long=$(head -c 100000 /dev/zero | tr '\0' a)
for option in --epochs --lr --recipe --device --data --no-such-option ""; do
  # shellcheck disable=SC2086
  refuses "${option#--}" "$exe" train $option "$long"
  [ "$(wc -c < err.txt)" -lt 400 ] || fail "$option with a long text gave $(wc -c < err.txt) bytes"
done
refuses 'a\\x1b\[31m' "$exe" eval --data synthetic --model $'a\e[31m'
refuses 'a\\x1b\[31m' "$exe" train --device $'a\e[31m'
refuses "made with backend" "$exe" train "${tiny[@]}" --out whole --resume --backend own
refuses "made with threads" "$exe" train "${base[@]}" --epochs 3 --threads 1 --out whole --resume
refuses "more than --epochs 2" "$exe" train "${base[@]}" --epochs 2 --threads 2 --out whole --resume
mkfifo fifo
refuses "fifo: is not a regular file" timeout 60 "$exe" eval --model fifo --data synthetic
refuses "fifo: has no data_batch_1.bin" timeout 60 "$exe" train --data fifo --out bad
mkdir pipes && mkfifo pipes/data_batch_1.bin
refuses "data_batch_1.bin: is not a regular file" timeout 60 "$exe" train --data pipes --out bad
MININN_CACHE_DIR=fifo timeout 60 "$exe" eval --data synthetic --limit-test 1 --model whole/resnet18_int8.safetensors > out.txt ||
  fail "a FIFO in the place of the tuner's folder is a failure"

refuses "lr: '1e39' is no number in" "$exe" train "${tiny[@]}" --lr 1e39 --out whole
cmp -s whole/metrics.jsonl killed/metrics.jsonl || [ "$(grep -c . whole/metrics.jsonl)" = 3 ] || fail "a refused run emptied the log"
refuses "lr: '1e-50' is no number in" "$exe" train --data synthetic --out bad --lr 1e-50
refuses "weight-decay: '1e300' is no number in" "$exe" train --data synthetic --out bad --weight-decay 1e300
refuses "--epochs excludes --minutes" "$exe" train "${tiny[@]}" --minutes 1
refuses "--resume excludes --minutes" "$exe" "${nine[@]}" --minutes 1 --resume
refuses "--warmup 9999: must end before the [0-9]* epochs" "$exe" train "${base[@]:0:2}" --width 0.0625 --out bad --minutes 0.01 --warmup 9999
refuses "--warmup: goes with" "$exe" "${nine[@]}" --out bad --warmup 1
refuses "--warmup: goes with" "$exe" train "${tiny[@]}" --schedule step --out bad --warmup 1
refuses "--schedule: --recipe fast has its own" "$exe" "${nine[@]}" --out bad --schedule cosine
refuses "--out whole holds results of a ResNet-18, this is a ResNet-9" "$exe" "${nine[@]}" --out whole --epochs 1
refuses "--out whole holds results of a ResNet-18" "$exe" ptq --data synthetic --model nine/resnet9.safetensors --out whole
cp -r mixed unfinished
rm unfinished/summary.json
refuses "made with arch \"resnet18\", this run has \"resnet9\"" "$exe" train "${tiny[@]}" --arch resnet9 --out unfinished --resume --amp
refuses "minutes: 'nan' is no" "$exe" train --minutes nan
refuses "arch: vgg" "$exe" train --arch vgg
refuses "--epochs: the value is missing" "$exe" train --epochs
refuses "--epochs: is given more than once" "$exe" train --epochs 1 --epochs 2
refuses "nothing is called 'nosuch'" "$exe" nosuch
refuses "nothing is called '--one' 'two' '--three'" "$exe" train --one two --three
refuses "batch: '' is no whole number" "$exe" bench --model whole/resnet18.safetensors --batch 1,,2
"$exe" --version > out.txt && grep -q "^cifar_resnet [0-9]" out.txt || fail "--version printed: $(cat out.txt)"

say "numbers in a network that are not finite"
cp whole/resnet18.safetensors nan.safetensors
printf '\0\0\300\177' | dd of=nan.safetensors bs=1 conv=notrunc seek=$(($(stat -c %s nan.safetensors) - 4)) 2> err.txt
for command in "eval --data synthetic" "ptq --data synthetic --out bad" bench; do
  # shellcheck disable=SC2086
  refuses "nan.safetensors: .* is not finite" "$exe" $command --model nan.safetensors
done

say "what is written replaces nothing that is read"
ln whole/resnet18.safetensors hard.safetensors
ln -s whole/resnet18.safetensors soft.safetensors
mkdir itself
cp whole/resnet18.safetensors itself/resnet18_int8.safetensors
sums=$(sha256sum whole/* 2> err.txt; sha256sum itself/*)
for json in whole/resnet18.safetensors ./whole//resnet18.safetensors hard.safetensors soft.safetensors; do
  for command in "eval --data synthetic" bench; do
    # shellcheck disable=SC2086
    refuses "--model and --json are the same file" "$exe" $command --model whole/resnet18.safetensors --json "$json"
  done
done
refuses "--int8 and --json are the same file" "$exe" bench --int8 hard.safetensors --json whole/resnet18.safetensors
refuses "--model and resnet18_int8.safetensors of --out" "$exe" ptq --data synthetic --model itself/resnet18_int8.safetensors --out itself
ln -s itself link-to-itself
for file in checkpoint/last.safetensors metrics.jsonl summary.json training_history.png feature_maps.png report.html; do
  for out in whole itself link-to-itself; do
    refuses "$file of --out and --model are the same file" "$exe" train "${tiny[@]}" --out itself/../$out --model ${out#link-to-}/$file
  done
done
[ "$sums" = "$(sha256sum whole/* 2> err.txt; sha256sum itself/*)" ] || fail "a refused command changed a file"
rm hard.safetensors

say "a log that another run has emptied is whole again after --resume"
cp -r whole emptied
: > emptied/metrics.jsonl
"$exe" train "${tiny[@]}" --out emptied --resume > out.txt
cmp whole/metrics.jsonl emptied/metrics.jsonl || fail "the resumed log is $(cat emptied/metrics.jsonl)"

say "a limit on the size of files is an error like a full disk"
(ulimit -f 20; refuses "File too large" "$exe" train "${base[@]}" --threads 2 --epochs 4 --out emptied --resume)
cmp whole/checkpoint/last.safetensors emptied/checkpoint/last.safetensors || fail "the last checkpoint is lost"
[ -z "$(find emptied -name '*.tmp')" ] || fail "temporary files are left behind"

say "a file is compared with the network before one is made"
safetensors() {  # HEADER: the beginning of a file
  local n=${#1}
  # shellcheck disable=SC2059
  printf "$(printf '\\x%02x' $((n & 255)) $((n >> 8)) 0 0 0 0 0 0)"
  printf '%s' "$1"
}
{
  safetensors '{"conv1.weight":{"dtype":"F32","shape":[256,3,3,3],"data_offsets":[0,27648]}}'
  head -c 27648 /dev/zero
} > stem.safetensors
(limit_memory; refuses "stem.safetensors.*bn1.weight" "$exe" eval --threads 1 --model stem.safetensors --data synthetic)

say "a checkpoint is not trusted"
checkpoint() {  # EPOCH BATCH RUNNING HISTORY [RANDOM]
  local state="{\"epoch\":$1,\"batch\":$2,\"random_seed\":${5:-1},\"random_position\":0,"
  state+="\"run\":{\"options\":{},\"running\":$3,\"history\":$4}}"
  mkdir -p forged/checkpoint
  safetensors "{\"__metadata__\":{\"training_state\":\"${state//\"/\\\"}\"}}" > forged/checkpoint/last.safetensors
}
none='{"loss":0,"right":0,"images":0}'
line='{"epoch":1,"lr":0.1,"train_loss":1,"train_accuracy":0.5,"test_loss":1,"test_accuracy":0.5}'
damaged() {  # what it says, then the arguments of checkpoint()
  checkpoint "${@:2}"
  refuses "checkpoint/last.safetensors.*$1" "$exe" train "${tiny[@]}" --out forged --resume
}
damaged "history" 3 0 "$none" "[]"
damaged "epoch" 1000000000000000000 0 "$none" "[]"
damaged "epoch" 1.9 0 "$none" "[$line]"
damaged "epoch" -1 0 "$none" "[]"
damaged "epoch" '"1"' 0 "$none" "[$line]"
damaged "batches" 1 99 "$none" "[$line]"
damaged "batches" 1 1 "$none" "[$line]"
damaged "images" 0 1 '{"loss":0,"right":0,"images":-64}' "[]"
damaged "right" 0 1 '{"loss":0,"right":65,"images":64}' "[]"
damaged "loss" 0 1 '{"loss":null,"right":0,"images":64}' "[]"
damaged "test_loss" 1 0 "$none" "[${line/\"test_loss\":1,/}]"
damaged "test_loss" 1 0 "$none" "[${line/\"test_loss\":1/\"test_loss\":[]}]"
damaged "history" 1 0 "$none" "7"
damaged "random_seed" 1 0 "$none" "[$line]" -1
damaged "missing" 1 0 "$none" "[$line]"  # all of the network

say "what will be written is tried first, through links and to devices"
refuses "nodir/m.safetensors: cannot be written: No such file" "$exe" train "${tiny[@]}" --out fresh --model nodir/m.safetensors
! grep -q "^epoch" out.txt || fail "the missing folder was noticed after an epoch"
for command in "eval --data synthetic" "bench"; do
  # shellcheck disable=SC2086
  refuses "nodir" "$exe" $command --model whole/resnet18.safetensors --json nodir/eval.json
done
touch file
refuses "file/sub: the folder cannot be made: Not a directory" "$exe" train "${tiny[@]}" --out file/sub
refuses "file/sub: the folder cannot be made" "$exe" ptq --data synthetic --model whole/resnet18.safetensors --out file/sub
small=(eval --data synthetic --limit-test 10 --model whole/resnet18.safetensors)
"$exe" "${small[@]}" --json /dev/stdout > both.txt
grep -q "logits SHA-256" both.txt && grep -q '"logits_sha256"' both.txt || fail "eval --json /dev/stdout gave: $(cat both.txt)"
touch target.json && chmod 600 target.json && ln -s target.json link.json
"$exe" "${small[@]}" --json link.json > out.txt
[ -L link.json ] && [ -s target.json ] && [ "$(stat -c %a target.json)" = 600 ] || fail "eval --json replaced a link or its mode"
"$exe" "${small[@]}" --json /dev/null > out.txt
[ -c /dev/null ] || fail "eval --json replaced /dev/null"

{
  echo before >&3
  "$exe" "${small[@]}" --json /dev/fd/3 > out.txt
} 3> fd.json
grep -q before fd.json && grep -q '"logits_sha256"' fd.json || fail "eval --json /dev/fd/3 left: $(cat fd.json)"
if command -v setsid > out.txt; then
  refuses "/dev/tty: cannot be written" setsid -w "$exe" "${small[@]}" --json /dev/tty
  ! grep -q accuracy out.txt || fail "the missing terminal was noticed at the end"
fi

say "what will be read is read first"
unprivileged() {  # COMMAND...: with permissions that count
  if [ "$(id -u)" != 0 ]; then "$@"; else setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; fi
}
quantize=(ptq --data synthetic --limit-test 10 --calib 10 --model whole/resnet18.safetensors)
chmod 755 .
mkdir -m 777 read
tells_first() {  # PATTERN COMMAND...
  refuses "$1" "${@:2}" --out read
  ! grep -q accuracy out.txt || fail "${*:2} noticed it at the end: $(cat err.txt)"
}
echo '{"cut' > read/summary.json
tells_first "summary.json: holds no JSON object" "$exe" train "${short[@]}"
tells_first "summary.json: holds no JSON object" "$exe" "${quantize[@]}"
if unprivileged test -x "$exe" 2> err.txt; then
  echo '{}' > read/summary.json
  chmod 222 read/summary.json
  tells_first "summary.json: cannot be opened: Permission denied" unprivileged "$exe" train "${short[@]}"
fi
rm -rf read && mkdir -p read/summary.json
tells_first "summary.json: " "$exe" train "${short[@]}"
rmdir read/summary.json
for file in misclassified_examples.png resnet18_int8.safetensors; do
  mkfifo read/$file
  tells_first "$file: is not a regular file" timeout 60 "$exe" "${quantize[@]}"
  rm read/$file
done
ln -s /dev/null read/summary.json
"$exe" train "${short[@]}" --out read > out.txt || fail "a summary that goes to /dev/null is a failure"

say "one writer for each folder and for each network"
if command -v flock > flock.txt; then
  refuses "whole: another process" flock -n whole "$exe" train "${tiny[@]}" --out whole
  refuses "whole: another process" flock -n whole "$exe" ptq --data synthetic --model whole/resnet18.safetensors --out whole
  flock -n whole "$exe" report --out whole > out.txt || fail "report needs no lock"
  refuses "shared.safetensors: another process is writing" flock -n .mininn-lock-shared.safetensors.tmp "$exe" train "${short[@]}" --out read --model shared.safetensors
  "$exe" train "${short[@]}" --out read --model shared.safetensors > out.txt
fi
for ended in "TERM 1 ${quantize[*]} --out read" "HUP 0.3 eval --data synthetic --model whole/resnet18.safetensors"; do
  read -r signal seconds command <<< "$ended"
  status=0
  # shellcheck disable=SC2086
  timeout --preserve-status -s "$signal" "$seconds" "$exe" $command > out.txt 2> err.txt || status=$?
  [ $status = $((128 + $(kill -l "$signal"))) ] || fail "$command ended with $status after SIG$signal: $(cat err.txt)"
done
[ -z "$(find . -name '*.tmp')" ] || fail "temporary files are left behind"

say "lost output is a failure"
for options in "--help" kernels "${small[*]}" "report --out whole"; do
  # shellcheck disable=SC2086
  if "$exe" $options > /dev/full 2> err.txt; then fail "$options > /dev/full is no failure"; fi
  if "$exe" $options >&- 2> err.txt; then fail "$options >&- is no failure"; fi
  grep -q "standard output cannot be written" err.txt || fail "$options >&- said: $(cat err.txt)"
done
"$exe" "${small[@]}" --json closed.json >&- 2> err.txt || true
grep -q "^{" closed.json && ! grep -q images: closed.json || fail "what was printed went to a file: $(cat closed.json)"

say "more epochs than planned"
"$exe" train "${base[@]}" --epochs 4 --threads 2 --out asked --resume > asked.log
grep -q "4 epochs instead of 3" asked.log || fail "the longer schedule is not mentioned: $(cat asked.log)"

[ "$before" = "$(sha256sum whole/checkpoint/last.safetensors)" ] || fail "bad input changed the checkpoint"

say "bench"
quick=(bench --batch 1,4 --threads 1,2 --seconds 0.02 --json bench.json --model whole/resnet18.safetensors)
"$exe" "${quick[@]}" --int8 whole/resnet18_int8.safetensors > bench.log
for key in net batch threads ms_per_image p50 p95 p99 peak_rss_mib; do
  [ "$(grep -c "^ *\"$key\": " bench.json)" -ge 8 ] || fail "bench: not every row has $key"
done
for key in load_ms first_ms warm_ms; do [ "$(grep -c "\"$key\"" bench.json)" = 2 ] || fail "bench: no $key"; done
[ "$(grep -c "times as fast" bench.log)" = 4 ] || fail "bench compares nothing"
[ "$(wc -L < bench.log)" -le 100 ] || fail "a line of bench has more than 100 columns"
"$exe" "${quick[@]}" --int8 nine/resnet9_int8.safetensors > bench.log
[ "$(grep -c "different networks.*layer" bench.log)" = 1 ] || fail "bench does not say that it times two networks"
grep -q "times as fast" bench.log && fail "bench compares different networks"
grep -q '"same_network": false' bench.json || fail "bench.json does not say that it is of two networks"

hello="$(dirname "$exe")/hello_mlp"
if [ -x "$hello" ]; then
  say "the smallest program"
  for variable in MININN_NUM_THREADS MININN_PREFER; do
    refuses "hello_mlp: .*$variable" env $variable=nonsense "$hello"
  done
  refuses "usage: hello_mlp" "$hello" nonsense
  "$hello" --help | grep -q "usage: hello_mlp" || fail "hello_mlp --help prints no usage"
fi
echo "all good"
