#!/usr/bin/env bash
# Does a program start where there is no CUDA library and no driver, and does it go on with own kernels? Not if the loader
# has to find one. Where the system lets us, the libraries are hidden from it, and it runs.
# usage: without_libraries.sh TEST_PROGRAM
set -u
command -v readelf >/dev/null || { echo "SKIP: readelf is not installed"; exit 77; }
needed=$(readelf -d "$1" | grep NEEDED) || { echo "no dynamic section in $1"; exit 1; }
if grep -E 'lib(cu|nv)' <<<"$needed"; then exit 1; fi

folder=$(/sbin/ldconfig -p | sed -n 's|.* => \(.*\)/libcublasLt\.so\..*|\1|p' | head -n 1)
[[ -n $folder && ! -e $folder/libc.so.6 && ! -e /dev/nvidiactl ]] || exit 0
unshare --user --map-root-user --mount true 2>/dev/null || exit 0
# shellcheck disable=SC2016
said=$(MININN_VERBOSE=dispatch unshare --user --map-root-user --mount bash -c \
  'mount -t tmpfs none "$0" && exec "$@"' "$folder" "$1" "*without a GPU*" 2>&1) || { echo "$said"; exit 1; }
grep -F 'cublas.auto: libcublasLt.so.' <<<"$said" | grep -F ' was not found' || { echo "$said"; exit 1; }
