#!/usr/bin/env bash
# Vector code may only be in functions that are private to their object. A weak (inline, template) function compiled
# with AVX can be the copy that the linker keeps for every caller, and then crashes older CPUs. This disassembles the
# kernels' objects and fails on a weak function with a VEX, EVEX or AMX instruction. Weak functions of plain x86-64 code (the
# standard library's templates, say) are harmless and pass.
# usage: weak_symbols.sh OBJECT...   (of all objects given, those of cpu_kernels/own/ are read)
set -u
checked=0 failed=0
for object in "$@"; do
  case $object in *cpu_kernels/own/*.o) ;; *) continue ;; esac
  checked=$((checked + 1))
  [ -e "$object" ] || { echo "not built: $object"; exit 1; }
  found=$({ nm --defined-only "$object" | awk '$2 == "W" || $2 == "w" || $2 == "u" { print "weak", $3 }'
            objdump -d --no-show-raw-insn "$object"; } |
    awk '$1 == "weak" { weak[$2] = 1; next }
         /^[0-9a-f]+ <.*>:$/ { name = substr($2, 2, length($2) - 3); next }
         (name in weak) && /^ *[0-9a-f]+:\t(\{[a-z0-9]+\} )?(v[a-z]|k(mov|or|and|xor|unpck|shift|add|test|not)[a-z]* |tile|tdp|ldtilecfg)/ {
           if (!(name in said)) print name "  " $2
           said[name] = 1 }')
  if [ -n "$found" ]; then
    failed=1
    echo "${object##*/}: weak functions with vector code:"
    echo "$found" | c++filt | sed 's/^/  /'
  fi
done
[ "$checked" -gt 0 ] || { echo "no object of cpu_kernels/own/ was given"; exit 1; }
[ "$failed" = 0 ] && echo "$checked objects, no weak function with vector code"
exit "$failed"
