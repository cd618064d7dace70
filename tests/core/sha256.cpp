#include "core/sha256.h"

#include <string_view>

#include "tests/support/catch.h"

using mininn::Sha256;

namespace {

std::string of(std::string_view text) { return Sha256().update(text.data(), text.size()).hex(); }

}  // namespace

TEST_CASE("SHA-256 gives the published digests") {  // FIPS 180-4 examples, NIST CAVS
  CHECK(of("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(of("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(of(std::string(1000000, 'a')) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("SHA-256 does not depend on how the bytes are cut into updates") {
  // Lengths around the block size, where the padding changes its form.
  for (const size_t length : {55u, 56u, 57u, 63u, 64u, 65u, 119u, 120u, 127u, 128u, 129u, 300u}) {
    std::string text;
    for (size_t i = 0; i < length; ++i) text += char(i * 7 + length);
    for (const size_t step : {1u, 3u, 63u, 64u, 65u}) {
      Sha256 h;
      for (size_t i = 0; i < length; i += step) h.update(text.data() + i, std::min(step, length - i));
      CHECK(h.hex() == of(text));
    }
  }
}

TEST_CASE("hex() leaves the state as it is, so that more can follow") {
  Sha256 h;
  h.update("ab", 2);
  CHECK(h.hex() == of("ab"));
  h.update("c", 1);
  CHECK(h.hex() == of("abc"));
}

TEST_CASE("SHA-256 of a span hashes its bytes") {
  const std::vector<uint32_t> words{0x64636261, 0x68676665};  // "abcdefgh" on a little-endian machine
  CHECK(Sha256().update(std::span<const uint32_t>(words)).hex() == of("abcdefgh"));
}
