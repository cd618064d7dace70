#!/usr/bin/env bash
# The machine code of convolutions on tensor cores. For every architecture each of them multiplies there, loads what it
# multiplies by ldmatrix, stores results side by side at once, and spills no register. Those of warpgroups do so for sm_90a alone, with what copies of images
# and of weights bring.
# usage: sass.sh CUOBJDUMP OBJECT.o...
set -uo pipefail
cuobjdump=$1
shift
command -v "$cuobjdump" >/dev/null || { echo "SKIP: cuobjdump is not here (scripts/setup gets it)"; exit 77; }
export PATH=$(dirname "$(command -v "$cuobjdump")"):$PATH  # it asks nvdisasm

# Lines "ARCHITECTURE FUNCTION OPCODE COUNT".
opcodes() {
  "$cuobjdump" -sass "$1" | awk '
    /arch = /     { arch = $3 }
    /Function : / { function_name = $3 }
    match($0, /\*\/ +(@!?U?P[0-9T]+ +)?[A-Z][A-Z0-9_]+/) {
      n = split(substr($0, RSTART, RLENGTH), words, " ")
      ++count[arch " " function_name " " words[n]]
      if (/ STG\.E\.(64|128) /) ++count[arch " " function_name " wide-STG"]
    }
    END { for (k in count) print k, count[k] }'
}

failed=0
for object in "$@"; do
  seen=0 type=H
  [[ $object != */int8/* ]] || type=I
  listing=$(opcodes "$object") || { echo "$object: cuobjdump fails"; exit 1; }
  while read -r arch name; do
    expected=("${type}MMA" LDSM wide-STG)
    if [[ $name == *wgmma_kernel* ]]; then
      [[ $arch == sm_90a ]] || continue
      expected=("${type}GMMA" UTMALDG UBLKCP wide-STG)
    fi
    ((++seen))
    line=$(awk -v f="$arch $name" '$1 " " $2 == f { printf " %s=%d", $3, $4 }' <<<"$listing")
    missing=
    for wanted in "${expected[@]}"; do [[ $line == *" $wanted="* ]] || missing+=" no $wanted"; done
    for unwanted in LDL STL; do [[ $line != *" $unwanted="* ]] || missing+=" $unwanted"; done
    [[ -z $missing ]] || { echo "$object, $arch, $name:$missing"; failed=1; }
  done < <(awk '$2 ~ /conv2d_kernel|weight_gradient_kernel|wgmma_kernel/ { print $1, $2 }' <<<"$listing" | sort -u)
  echo "$object: $seen kernels"
  ((seen > 0)) || failed=1
done
exit $failed
