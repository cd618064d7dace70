#include "quant/int8_file.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "core/sha256.h"
#include "nn/graph/graph_file.h"
#include "ops/dropout.h"
#include "ops/qconv2d.h"
#include "ops/quantize.h"
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

// A file as the first version of this library wrote it.
fs::path version_1(const std::string& name) {
  return fs::path(MININN_SOURCE_DIR) / "tests/quant/version_1" / (name + ".safetensors");
}

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
  nn::graph::Graph& g = m.graph;
  g.inputs = {g.add_value({.name = "x", .shape = {1, 1, 1, 1}, .dtype = DType::f32, .constant = {}})};
  const int x = g.add_node(opdef::quantize, "in", {0}, to_attrs(QParams{}));
  const int w = g.add_constant("w", Tensor::full({1, 1, 1, k}, 1, DType::i8));
  const int scale = g.add_constant("scale", Tensor::full({1}, 1));
  const int bias = g.add_constant("bias", Tensor::zeros({1, 1}, DType::i32));
  g.outputs = {g.add_node(opdef::qconv2d, "conv", {x, w, scale, bias, nn::graph::kAbsent},
                          to_attrs(QConv2dOptions{{.padding = {0, k}}, {0, 0}}))};
  m.layers.resize(2);
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
  CHECK_THROWS_WITH(Int8Net::load(file.path), Contains("no int8 file") && Contains(file.path.string()));
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
    bad.metadata["sha256"] = nn::graph::content_hash(bad);
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
    std::string& text = bad.metadata[i % 8 ? "graph" : "network"];
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
    const char* const text = i % 8 ? "graph" : "network";
    nlohmann::json j = nlohmann::json::parse(bad.metadata[text]), flat = j.flatten();
    auto at = flat.begin();
    std::advance(at, ptrdiff_t(g.below(flat.size())));
    j[nlohmann::json::json_pointer(at.key())] = values[size_t(g.below(values.size()))];
    bad.metadata[text] = j.dump();
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

namespace {

// What loading says to a good file in which `change` altered tensors, metadata, or a text of JSON in them.
std::string complaint(const Scratch& file, const nn::SafeTensors& good, const char* text, auto change) {
  nn::SafeTensors bad = good;
  nlohmann::json j = nlohmann::json::parse(bad.metadata[text]);
  change(bad, j);
  bad.metadata[text] = j.dump();
  bad.metadata["sha256"] = nn::graph::content_hash(bad);
  bad.write(file.path);
  try {
    Int8Net::load(file.path);
  } catch (const FileError& e) {
    return e.what();
  }
  return "";
}

using Json = nlohmann::json;

}  // namespace

TEST_CASE("refusals name the file and the item") {
  const Scratch file;
  small_net().save(file.path);
  const nn::SafeTensors good = nn::SafeTensors::read(file.path);
  const auto graph = [&](auto change) { return complaint(file, good, "graph", change); };
  const auto node = [](Json& j, const std::string& name) -> Json& {
    for (Json& n : j["nodes"])
      if (n["name"] == name) return n;
    throw Error("no node " + name);
  };
  CHECK(graph([](auto&, Json&) {}).empty());
  CHECK_THAT(graph([](auto& f, Json&) { f.metadata["format_version"] = std::string("3"); }), Contains("version '3'"));
  CHECK_THAT(graph([&](auto&, Json& j) { node(j, "conv1")["attrs"]["zero_point"] = 256; }),
             Contains("node conv1 (qconv2d)") && Contains("256") && Contains(file.path.string()));
  CHECK_THAT(graph([&](auto&, Json& j) { node(j, "conv1")["attrs"].erase("lo"); }),
             Contains("conv1") && Contains("'lo'"));
  CHECK_THAT(graph([&](auto&, Json& j) { node(j, "conv1")["inputs"][0] = 77; }),
             Contains("conv1") && Contains("value 77"));
  CHECK_THAT(graph([&](auto&, Json& j) { node(j, "conv1")["inputs"][1] = -1; }), Contains("lacks an input"));
  CHECK_THAT(graph([&](auto&, Json& j) { node(j, "conv1")["op"] = "frobnicate"; }),
             Contains("conv1 (frobnicate)") && Contains("no such op"));
  CHECK_THAT(graph([](auto&, Json& j) { j["inputs"][0]["dtype"] = "f33"; }), Contains("'f33'"));
  CHECK_THAT(graph([](auto&, Json& j) { j["inputs"][0]["shape"] = {1, 3, -9, 9}; }), Contains("-9"));
  CHECK_THAT(graph([](auto&, Json& j) { j["outputs"] = {99}; }), Contains("99"));
  CHECK_THAT(graph([](auto& f, Json&) { f.tensors.pop_back(); }), Contains("is missing"));
  CHECK_THAT(graph([](auto& f, Json&) { f.tensors.emplace_back("stowaway", Tensor::zeros({1})); }),
             Contains("nothing uses tensor stowaway"));
  CHECK_THAT(graph([](auto&, Json& j) { j.erase("outputs"); }), Contains("'outputs' is missing"));
  CHECK_THAT(graph([](auto& f, Json&) {
               for (auto& [name, t] : f.tensors)
                 if (name == "conv1.bias") t.fill(2147483647.0);
             }),
             Contains("conv1") && Contains("32 bits"));
  const auto network = [&](auto change) { return complaint(file, good, "network", change); };
  CHECK_THAT(network([](auto&, Json& j) { j["layers"].erase(0); }), Contains("notes on"));
  CHECK_THAT(network([](auto&, Json& j) { j["normalization"]["std"][0] = 0; }), Contains("channel 0"));
  CHECK_THAT(network([](auto&, Json& j) { j["calibration"]["seed"] = 7; }), Contains("'seed' is no text"));
}

TEST_CASE("files of version 1 give the bits that they gave") {
  struct Old {
    const char* name;
    Shape input;
    const char* sha256;  // of the f64 values of the result, by the version that wrote the file
  };
  for (const Old& old : {Old{"image", {5, 3, 7, 6}, "f084f512097089985ba989ce9a8d5e034d53ae53af38b76917460fc771117686"},
                         Old{"maps", {5, 3, 5, 5}, "834099d7cd6d3d7605d73b44bb34599fddbcaa482a2571a26d67e220c1a19b44"},
                         Old{"flat", {5, 10}, "b24858f1e1a111dba642f54eac206ea271f983cdbdc4e4d7822ca05075ec9f07"}}) {
    INFO(old.name);
    const Int8Net net = Int8Net::load(version_1(old.name));
    Tensor x = Tensor::empty(old.input, net.model().normalization ? DType::u8 : DType::f32);
    for (int64_t i = 0; i < x.numel(); ++i) {
      const auto byte = uint8_t(i * 37);
      if (x.dtype() == DType::u8)
        x.mutable_data<uint8_t>()[size_t(i)] = byte;
      else
        x.mutable_data<float>()[size_t(i)] = float(byte - 128) / 32;
    }
    const std::vector<double> y = net(x).to_vector();
    CHECK(Sha256().update(std::span<const double>(y)).hex() == old.sha256);
    CHECK(net.report().int8_mac_coverage() == 1);
    // Saved again it is a file of today.
    const Scratch file;
    net.save(file.path);
    CHECK(nn::SafeTensors::read(file.path).metadata.at("format_version") == "2");
    CHECK(Int8Net::load(file.path)(x).to_vector() == y);
  }
}

TEST_CASE("refusals of files of version 1 name the file and the item") {
  const Scratch file;
  const nn::SafeTensors good = nn::SafeTensors::read(version_1("image"));
  const auto of = [&](auto change) { return complaint(file, good, "network", change); };
  CHECK(of([](auto&, Json&) {}).empty());
  CHECK_THAT(of([](auto&, Json& j) { j["values"][1]["zero_point"] = 256; }),
             Contains("relu_1") && Contains("zero point 256") && Contains(file.path.string()));
  CHECK_THAT(of([](auto&, Json& j) { j["values"][1]["c"] = 7; }), Contains("relu_1") && Contains("[1,7,7,6]"));
  CHECK_THAT(of([](auto&, Json& j) { j["values"][1]["kind"] = "sums"; }), Contains("relu_1"));
  CHECK_THAT(of([](auto&, Json& j) { j["steps"][0]["inputs"][0] = 77; }), Contains("step c1 reads value 77"));
  CHECK_THAT(of([](auto&, Json& j) { j["steps"][0]["inputs"] = Json::array(); }), Contains("c1"));
  CHECK_THAT(of([](auto&, Json& j) { j["steps"][1]["output"] = 1; }), Contains("made already"));
  CHECK_THAT(of([](auto&, Json& j) { j["steps"][0]["clamp"] = {9, 3}; }), Contains("9..3"));
  CHECK_THAT(of([](auto&, Json& j) { j["steps"][0]["kind"] = "knit"; }), Contains("'knit'"));
  CHECK_THAT(of([](auto&, Json& j) { j["steps"][1]["name"] = "c1"; }), Contains("two nodes are called c1"));
  CHECK_THAT(of([](auto& f, Json&) { f.tensors.pop_back(); }), Contains("is missing"));
  CHECK_THAT(of([](auto& f, Json&) { f.tensors.emplace_back("stowaway", Tensor::zeros({1})); }),
             Contains("no step uses"));
  CHECK_THAT(of([](auto&, Json& j) { j.erase("output"); }), Contains("'output' is missing"));
  CHECK_THAT(of([](auto&, Json& j) { j["flat_input"] = true; }), Contains("a flat input has no height and width"));
  CHECK_THAT(of([](auto& f, Json&) {
               for (auto& [name, t] : f.tensors)
                 if (name == "c1.bias") t.fill(2147483647.0);
             }),
             Contains("c1") && Contains("32 bits"));
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
    (i % 4 == 0 ? m.graph.nodes[0].name : i % 4 == 1 ? m.layers[1].op : m.calibration["note"]) = note + "x";
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
    CHECK(back.graph.nodes[0].name == m.graph.nodes[0].name);
    CHECK(back.layers[1].op == m.layers[1].op);
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
  const auto hash = [](const Tensor& t) { return nn::graph::content_hash({.metadata = {}, .tensors = {{"t", t}}}); };
  Tensor channels_last = Tensor::empty(dense.shape(), DType::u8, Device::cpu(), MemoryFormat::channels_last);
  channels_last.copy_from(dense);
  CHECK(hash(channels_last) == hash(dense));
  const Tensor gaps = dense.as_strided({2, 3}, {60, 20});
  CHECK(hash(gaps) == hash(gaps.clone()));
  const Tensor repeated = Tensor::full({1}, 7, DType::u8).as_strided({1 << 20}, {0});
  CHECK(hash(repeated) == hash(Tensor::full({1 << 20}, 7, DType::u8)));
  CHECK_THROWS_AS(hash({}), ValueError);
}

TEST_CASE("a file whose ops would refuse their operands when they run is refused when it is loaded") {
  const Scratch file;
  const auto refused = [&](const OpDef& op, const Tensor& constant, Attrs attrs, bool first = true) {
    Int8Model m;
    nn::graph::Graph& g = m.graph;
    g.inputs = {g.add_value({.name = "x", .shape = {1, 4}, .dtype = DType::f32, .constant = {}})};
    std::vector<int> in{first ? 0 : g.add_constant("c", constant)};
    if (first && constant) in.push_back(g.add_constant("c", constant));
    const int y = g.add_node(op, "node", in, std::move(attrs));
    g.outputs = {first ? y : g.add_node(opdef::functor<op::Relu>, "relu", {0})};
    m.layers.resize(g.nodes.size());
    save_int8(file.path, m);
    CHECK_THROWS_WITH(Int8Net::load(file.path), Contains(file.path.string()));
    CHECK_THROWS_AS(Int8Net::load(file.path), FileError);
  };
  refused(opdef::functor<op::Add>, Tensor::zeros({4}, DType::f64), {});
  refused(opdef::functor<op::Relu>, Tensor::zeros({4}, DType::i8), {}, false);
  refused(opdef::dropout, {}, to_attrs(DropoutOptions{.p = 7}));
  refused(opdef::pad, {}, to_attrs(PadOptions{{{0, 0}, {1, 1}}, 1e300}));
}

TEST_CASE("the inputs of a file's nodes are limited, all together") {
  const Scratch file;
  Int8Model m;
  nn::graph::Graph& g = m.graph;
  g.inputs = {g.add_value({.name = "x", .shape = {1, 1}, .dtype = DType::f32, .constant = {}})};
  g.outputs = {g.add_node(opdef::cat, "cat", std::vector<int>(70'000, 0), to_attrs(DimOptions{1}))};
  m.layers.resize(1);
  save_int8(file.path, m);
  CHECK_THROWS_WITH(load_int8(file.path), Contains("65536 inputs"));
}

TEST_CASE("a constant that several nodes read is in the file's bytes once") {
  const Scratch file;
  const auto a = Layers(1).conv("a", 3, 3, 1), b = Layers(2).conv("b", 3, 3, 1);
  const Tensor gamma = Layers(3).normal("gamma", {1, 3, 1, 1}, 1, 0.1);
  const TestNet net{"shared", {2, 3, 4, 4}, [=](const Tensor& x) { return b(a(x) * gamma) * gamma; }};
  const Int8Net compiled = calibrated(net, 1, false).compile();
  compiled.save(file.path);
  int64_t tensors = 0;
  for (const FileItem& i : int8_file_items(file.path))
    if (i.name != "header") tensors += i.bytes;
  CHECK(compiled.report().int8_bytes() == tensors);
}

TEST_CASE("a weight that is not row-major is refused by everything that takes a model") {
  const Scratch file;
  Int8Model m = small_net().model();
  Tensor& weight = constant(m, "conv1.weight");
  Tensor moved = Tensor::empty(weight.shape(), DType::i8, Device::cpu(), MemoryFormat::channels_last);
  moved.copy_from(weight);
  weight = moved;
  CHECK_THROWS_WITH(m.validate(), Contains("row-major") && Contains("conv1"));
  CHECK_THROWS_AS(Int8Net(m), ShapeError);
  CHECK_THROWS_AS(save_int8(file.path, m), FileError);
}
