#!/usr/bin/env bash
# weak_symbols.sh must refuse an inline function in a target region and accept everything that is allowed.
# usage: weak_symbols_self_test.sh COMPILER
set -eu
here=$(dirname "$(readlink -f "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/cpu_kernels/own"

object() {  # object NAME: compiles standard input
  "$1" -std=c++20 -O1 -x c++ -c - -o "$work/cpu_kernels/own/$2.o"
}
object "$1" good <<'CPP'
#include <vector>
template <class T> __attribute__((noinline)) T twice(T v) { return v + v; }      // weak, plain code
int use(std::vector<int>& v) { v.push_back(twice(3)); return v[0]; }
#pragma GCC target("avx2")
namespace { __attribute__((noinline)) void add(float* x) { for (int i = 0; i < 8; ++i) x[i] += 1; } }  // vector code, local
void kernel(float* x) { add(x); }
CPP
object "$1" bad <<'CPP'
#pragma GCC target("avx2")
inline __attribute__((noinline)) void add(float* x) { for (int i = 0; i < 8; ++i) x[i] += 1; }
void kernel(float* x) { add(x); }
CPP
bash "$here/weak_symbols.sh" "$work/cpu_kernels/own/good.o"
if bash "$here/weak_symbols.sh" "$work/cpu_kernels/own/bad.o"; then
  echo "a weak function with vector code was accepted"
  exit 1
fi
