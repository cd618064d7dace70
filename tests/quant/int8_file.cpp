#include "quant/int8_file.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "tests/quant/compiled_nets.h"
#include "tests/support/catch.h"
#include "tests/support/files.h"
#include "tests/support/random_tensors.h"

using namespace mininn;
using namespace mininn::quant;
using namespace mininn::testing;
using Catch::Contains;

namespace {

namespace fs = std::filesystem;

// A file that vanishes with the test.
struct Scratch {
  TempFolder folder;
  fs::path path = folder / "net.safetensors";

  std::string read() const { return read_file(path); }
  void write(const std::string& bytes) const { write_file(path, bytes); }
};

Int8Net small_net() { return calibrated(residual(1), 1, true).compile(); }

}  // namespace

TEST_CASE("a net survives its file bit for bit") {
  const uint64_t seed = test_seed();
  INFO("seed " << seed);
  const Scratch file;
  for (const TestNet& net : test_nets(seed))
    for (const bool images : {false, true}) {
      if (images && net.input.rank() != 4) continue;
      INFO(net.name);
      const Int8Net saved =
          calibrated(net, seed, images, {.notes = {{"note", "with \"quotes\" and \n lines"}}}).compile();
      saved.save(file.path);
      const std::string bytes = file.read();
      const Int8Net loaded = Int8Net::load(file.path);
      const Tensor x = random_input(net, 3, images, seed);
      CHECK(loaded(x).to_vector() == saved(x).to_vector());
      CHECK(loaded.model().calibration == saved.model().calibration);
      loaded.save(file.path);
      CHECK(file.read() == bytes);
    }
}

TEST_CASE("wrong options and settings are not blamed on the file") {
  const Scratch file;
  small_net().save(file.path);
  CHECK_THROWS_AS(Int8Net::load(file.path, {.slice = 0}), ValueError);
  ::setenv("MININN_TUNE", "sometimes", 1);
  CHECK_THROWS_AS(Int8Net::load(file.path), ValueError);
  ::setenv("MININN_TUNE", "off", 1);
}

TEST_CASE("the itemised sizes add up to the file's") {
  const Scratch file;
  const Int8Net net = small_net();
  net.save(file.path);
  int64_t sum = 0, tensors = 0;
  for (const FileItem& i : int8_file_items(file.path)) {
    sum += i.bytes;
    if (i.name != "header") tensors += i.bytes;
  }
  CHECK(sum == int64_t(fs::file_size(file.path)));
  CHECK(tensors == net.report().int8_bytes());
}

TEST_CASE("a net with real numbers before its result survives its file") {
  const Scratch file;
  Layers l(1);
  const auto conv = l.conv("conv", 3, 5, 1);
  const TestNet net{
      "end", {2, 3, 4, 4}, [&](const Tensor& x) { return flatten(global_avg_pool2d(relu(conv(x)) * 0.3)); }};
  const Int8Net saved = calibrated(net, 1, false).compile();
  saved.save(file.path);
  const std::string bytes = file.read();
  const Int8Net loaded = Int8Net::load(file.path);
  const Tensor x = random_input(net, 3, false, 2);
  CHECK(loaded(x).to_vector() == saved(x).to_vector());
  loaded.save(file.path);
  CHECK(file.read() == bytes);
}

TEST_CASE("notes that are no text are refused") {
  const Scratch file;
  Int8Model m = small_net().model();
  m.calibration["note"] = "\xff";
  CHECK_THROWS_AS(save_int8(file.path, m), FileError);
}

TEST_CASE("a wide kernel with much padding loads at once") {
  const Scratch file;
  const int64_t k = 5000;
  Int8Model m;
  m.values = {{.name = "x", .c = 1}, {.name = "y", .c = 1, .w = k + 2}};
  m.output = 1;
  m.steps.resize(1);
  m.steps[0].name = "conv";
  m.steps[0].inputs = {0};
  m.steps[0].output = 1;
  m.steps[0].body = Int8Conv{{.padding = {0, k}},
                             Tensor::full({1, 1, 1, k}, 1, DType::i8),
                             Tensor::full({1}, 1),
                             Tensor::zeros({1, 1}, DType::i32)};
  save_int8(file.path, m);
  // Telling the taps of each pixel apart one by one would take minutes.
  CHECK(Int8Net::load(file.path)(Tensor::full({1, 1, 1, 1}, 3)).to_vector()[1] == 3);
}

TEST_CASE("int8 files are told from others") {
  const Scratch file;
  small_net().save(file.path);
  CHECK(is_int8_file(file.path));
  nn::SafeTensors other;
  other.tensors.emplace_back("w", Tensor::zeros({2}));
  other.write(file.path);
  CHECK_FALSE(is_int8_file(file.path));
  CHECK_THROWS_WITH(Int8Net::load(file.path), Contains("no int8 network") && Contains(file.path.string()));
  CHECK_THROWS_AS(Int8Net::load("/nonexistent"), FileError);
}

TEST_CASE("truncated and bit-flipped files are refused") {
  const uint64_t seed = test_seed();
  INFO("seed " << seed);
  const Scratch file;
  small_net().save(file.path);
  const std::string good = file.read();
  Generator g(seed);
  for (int i = 0; i < 200; ++i) {
    std::string bad = good;
    if (i % 3 == 0)
      bad.resize(size_t(g.below(good.size())));
    else
      bad[size_t(g.below(good.size()))] ^= char(1 << g.below(8));
    file.write(bad);
    CHECK_THROWS_AS(Int8Net::load(file.path), FileError);
  }
}

TEST_CASE("a file with a valid hash is still checked: it runs or is refused, never crashes") {
  const uint64_t seed = test_seed();
  INFO("seed " << seed);
  const Scratch file;
  const Int8Net net = small_net();
  net.save(file.path);
  const nn::SafeTensors good = nn::SafeTensors::read(file.path);
  const Tensor x = random_images({2, 3, 9, 9}, 1);
  Generator g(seed);
  int refused = 0, ran = 0;
  const auto attempt = [&](nn::SafeTensors bad) {
    bad.metadata["sha256"] = int8_content_hash(bad);
    bad.write(file.path);
    try {
      Int8Net::load(file.path)(x);
      ++ran;
    } catch (const Error&) {
      ++refused;
    }
  };
  // Characters of the network's description.
  const std::string digits = "0123456789-.eE[]{},\"";
  for (int i = 0; i < 150; ++i) {
    nn::SafeTensors bad = good;
    std::string& text = bad.metadata["network"];
    text[size_t(g.below(text.size()))] = i % 4 ? digits[size_t(g.below(digits.size()))] : char(32 + g.below(95));
    attempt(std::move(bad));
  }
  // Whole values of it.
  const std::vector<nlohmann::json> values{-1,
                                           0,
                                           1,
                                           2,
                                           255,
                                           256,
                                           1 << 20,
                                           int64_t(1) << 40,
                                           INT64_MIN,
                                           1e300,
                                           0.5,
                                           nullptr,
                                           true,
                                           "text",
                                           nlohmann::json::array(),
                                           nlohmann::json::object()};
  for (int i = 0; i < 250; ++i) {
    nn::SafeTensors bad = good;
    nlohmann::json j = nlohmann::json::parse(bad.metadata["network"]), flat = j.flatten();
    auto at = flat.begin();
    std::advance(at, ptrdiff_t(g.below(flat.size())));
    j[nlohmann::json::json_pointer(at.key())] = values[size_t(g.below(values.size()))];
    bad.metadata["network"] = j.dump();
    attempt(std::move(bad));
  }
  // Tensors: other shapes, dtypes, values; missing or additional ones.
  for (int i = 0; i < 100; ++i) {
    nn::SafeTensors bad = good;
    auto& [name, t] = bad.tensors[size_t(g.below(bad.tensors.size()))];
    switch (g.below(5)) {
      case 0: t = Tensor::zeros({t.numel()}, t.dtype()); break;
      case 1: t = Tensor::zeros(t.shape(), DType::i64); break;
      case 2: t = Tensor::full(t.shape(), t.dtype() == DType::i8 ? -128 : 2147483520.0, t.dtype()); break;
      case 3: bad.tensors.erase(bad.tensors.begin() + ptrdiff_t(g.below(bad.tensors.size()))); break;
      default: bad.tensors.emplace_back("stowaway", Tensor::zeros({1})); break;
    }
    attempt(std::move(bad));
  }
  CHECK(refused > 200);
  CHECK(ran > 10);  // a name or a scale may change
}

TEST_CASE("refusals name the file and the item") {
  const Scratch file;
  small_net().save(file.path);
  const nn::SafeTensors good = nn::SafeTensors::read(file.path);
  const auto complaint = [&](auto change) {
    nn::SafeTensors bad = good;
    nlohmann::json j = nlohmann::json::parse(bad.metadata["network"]);
    change(bad, j);
    bad.metadata["network"] = j.dump();
    bad.metadata["sha256"] = int8_content_hash(bad);
    bad.write(file.path);
    try {
      Int8Net::load(file.path);
    } catch (const FileError& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  using Json = nlohmann::json;
  CHECK_THAT(complaint([](auto& f, Json&) { f.metadata["format_version"] = std::string("2"); }),
             Contains("version '2'"));
  CHECK_THAT(complaint([](auto&, Json& j) { j["values"][1]["zero_point"] = 256; }),
             Contains("value relu_1") && Contains("zero point 256") && Contains(file.path.string()));
  CHECK_THAT(complaint([](auto&, Json& j) { j["steps"][0]["inputs"][0] = 77; }), Contains("step conv1 reads value 77"));
  CHECK_THAT(complaint([](auto& f, Json&) { f.tensors.pop_back(); }), Contains("is missing"));
  CHECK_THAT(complaint([](auto&, Json& j) { j.erase("output"); }), Contains("'output' is missing"));
  CHECK_THAT(complaint([](auto& f, Json& j) {  // a map that is said to be flat
               j["steps"].erase(7);
               j["steps"].erase(6);
               j["values"].erase(8);
               j["values"].erase(7);
               j["output"] = 6;
               std::erase_if(f.tensors, [](const auto& t) { return t.first.starts_with("fc."); });
             }),
             Contains("a flat output has no height and width"));
  CHECK_THAT(complaint([](auto& f, Json&) {
               for (auto& [name, t] : f.tensors)
                 if (name == "conv1.bias") t.fill(2147483647.0);
             }),
             Contains("conv1") && Contains("32 bits"));
}

TEST_CASE("what is saved can be loaded, and what cannot leaves the old file alone") {
  const uint64_t seed = test_seed();
  INFO("seed " << seed);
  Generator g(seed);
  const Scratch file;
  const Int8Model good = small_net().model();
  const std::string letters[] = {
      "a",    "\"",   "\\",          "\n", std::string(1, '\0'), "\x7f", "\xc3\xa4", "\xf0\x9f\x98\x80",
      "\xff", "\xc3", "\xed\xa0\x80"};
  int saved = 0, refused = 0;
  for (int i = 0; i < 60; ++i) {
    Int8Model m = good;
    // A few letters, or about as many as the description may have.
    const auto& letter = letters[g.below(i % 2 ? 8 : std::size(letters))];
    const size_t count = i % 3 ? g.below(20) : (size_t(4) << 20) / (letter.size() * (1 + g.below(6))) + g.below(9);
    std::string note;
    for (size_t k = 0; k < count; ++k) note += letter;
    (i % 4 == 0 ? m.steps[0].name : i % 4 == 1 ? m.values[1].name : m.calibration["note"]) = note + "x";
    file.write("old");
    try {
      save_int8(file.path, m);
      ++saved;
    } catch (const FileError&) {
      ++refused;
      CHECK(file.read() == "old");
      continue;
    }
    const Int8Model back = load_int8(file.path);
    CHECK(back.calibration == m.calibration);
    CHECK(back.steps[0].name == m.steps[0].name);
    CHECK(back.values[1].name == m.values[1].name);
  }
  CHECK(saved > 5);
  CHECK(refused > 5);
}

TEST_CASE("notes that make the description too long are refused when they are saved") {
  const Scratch file;
  Int8Model m = small_net().model();
  m.calibration["note"] = std::string(size_t(4) << 20, 'x');
  CHECK_THROWS_WITH(save_int8(file.path, m), Contains("notes") && Contains("bytes"));
  CHECK_FALSE(fs::exists(file.path));
}

TEST_CASE("a content hash is that of the row-major elements, whatever their layout") {
  const Tensor dense = random_images({2, 3, 4, 5}, 1);
  const auto hash = [](const Tensor& t) { return int8_content_hash({.metadata = {}, .tensors = {{"t", t}}}); };
  Tensor channels_last = Tensor::empty(dense.shape(), DType::u8, Device::cpu(), MemoryFormat::channels_last);
  channels_last.copy_from(dense);
  CHECK(hash(channels_last) == hash(dense));
  const Tensor gaps = dense.as_strided({2, 3}, {60, 20});
  CHECK(hash(gaps) == hash(gaps.clone()));
  const Tensor repeated = Tensor::full({1}, 7, DType::u8).as_strided({1 << 20}, {0});
  CHECK(hash(repeated) == hash(Tensor::full({1 << 20}, 7, DType::u8)));
  CHECK_THROWS_AS(hash({}), ValueError);
}

TEST_CASE("a weight that is not row-major is refused by everything that takes a model") {
  const Scratch file;
  Int8Model m = small_net().model();
  auto& conv = std::get<Int8Conv>(m.steps[0].body);
  Tensor weight = Tensor::empty(conv.weight.shape(), DType::i8, Device::cpu(), MemoryFormat::channels_last);
  weight.copy_from(conv.weight);
  conv.weight = weight;
  CHECK_THROWS_WITH(m.validate(), Contains("row-major") && Contains(m.steps[0].name));
  CHECK_THROWS_AS(Int8Net(m), ShapeError);
  CHECK_THROWS_AS(save_int8(file.path, m), FileError);
}
