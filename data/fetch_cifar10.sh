#!/usr/bin/env bash
# Puts the binary version of CIFAR-10 (162 MB to download) into data/cifar-10-batches-bin, or into the folder given as
# argument, and checks every file. Safe to run again: what is there and whole is not downloaded a second time.
set -euo pipefail

url=${CIFAR10_URL:-https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz}
target=${1:-$(dirname "$(readlink -f "$0")")/cifar-10-batches-bin}

check() {  # check DIR: are all six files there, with the published sums?
  (cd "$1" && sha256sum --check --quiet --status) 2>/dev/null <<'SUMS'
cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5  data_batch_1.bin
a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed  data_batch_2.bin
bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67  data_batch_3.bin
014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48  data_batch_4.bin
755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add  data_batch_5.bin
8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b  test_batch.bin
SUMS
}

if check "$target"; then
  echo "CIFAR-10 is complete in $target"
  exit 0
fi

mkdir -p "$target"
work=$(mktemp -d "$target/download.XXXXXX")  # on the same disk, so that moving the files is all or nothing
trap 'rm -rf "$work"; rmdir --ignore-fail-on-non-empty "$target"' EXIT

echo "fetching $url"
if command -v curl >/dev/null; then
  curl --fail --location --retry 3 --connect-timeout 20 --no-progress-meter --output "$work/cifar10.tar.gz" "$url"
elif command -v wget >/dev/null; then
  wget --tries=3 --timeout=20 --no-verbose --output-document="$work/cifar10.tar.gz" "$url"
else
  echo "fetch_cifar10.sh: neither curl nor wget is installed" >&2
  exit 1
fi
tar -xzf "$work/cifar10.tar.gz" -C "$work" --strip-components=1
if ! check "$work"; then
  echo "fetch_cifar10.sh: what $url gave does not have the published SHA-256 sums; nothing was kept" >&2
  exit 1
fi
mv "$work"/*.bin "$target"
echo "CIFAR-10 is complete in $target"
