#!/usr/bin/env bash
# The machine code of convolutions on tensor cores: for every architecture each of them multiplies there, loads what it
# multiplies by ldmatrix, and spills no register.
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
    }
    END { for (k in count) print k, count[k] }'
}

failed=0
for object in "$@"; do
  seen=0 instruction=HMMA
  [[ $object != */int8/* ]] || instruction=IMMA
  listing=$(opcodes "$object") || { echo "$object: cuobjdump fails"; exit 1; }
  while read -r arch name; do
    ((++seen))
    line=$(awk -v f="$arch $name" '$1 " " $2 == f { printf " %s=%d", $3, $4 }' <<<"$listing")
    missing=
    for wanted in "$instruction" LDSM; do [[ $line == *" $wanted="* ]] || missing+=" no $wanted"; done
    for unwanted in LDL STL; do [[ $line != *" $unwanted="* ]] || missing+=" $unwanted"; done
    [[ -z $missing ]] || { echo "$object, $arch, $name:$missing"; failed=1; }
  done < <(awk '$2 ~ /conv2d_kernel|weight_gradient_kernel/ { print $1, $2 }' <<<"$listing" | sort -u)
  echo "$object: $seen kernels with $instruction"
  ((seen > 0)) || failed=1
done
exit $failed
