#!/usr/bin/env bash
# Is every C++ file as clang-format leaves it? Versions differ in details, so only the one the tree is written with judges.
# usage: format.sh ROOT
set -u
cd "$1" || exit 1
version=14
tool=$(command -v "clang-format-$version" || command -v clang-format) || { echo "SKIP: clang-format is not installed"; exit 77; }
"$tool" --version | grep -q "version $version\." || { echo "SKIP: $("$tool" --version), not $version"; exit 77; }
find core ops nn quant data cpu_kernels cuda examples tests bench python \
  \( -name '*.h' -o -name '*.cpp' -o -name '*.inl' -o -name '*.cu' -o -name '*.cuh' \) -print0 2>/dev/null |
  xargs -0 -n 16 -P "$(nproc)" "$tool" --dry-run -Werror --style=file
