#include "nn/serialize.h"
#include "core/integers.h"

#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <cstring>
#include <fstream>
#include <limits>

#include "core/error.h"
#include "core/random.h"
#include "nn/init.h"
#include "tests/support/catch.h"
#include "tests/support/files.h"

using namespace mininn;
using namespace mininn::testing;
namespace fs = std::filesystem;

namespace {

// A file with this header and `data_bytes` bytes behind it.
std::string file(const std::string& header, size_t data_bytes) {
  const uint64_t n = header.size();
  std::string out(8, '\0');
  std::memcpy(out.data(), &n, 8);
  out += header;
  for (size_t i = 0; i < data_bytes; ++i) out += char(i);
  return out;
}

nn::SafeTensors sample() {
  return {.metadata = {{"format", "pt"}, {"note", "quotes \" and \xc3\xa4"}},
          .tensors = {{"w", Tensor::from<float>({1, -2, 0.5f, 4, 5, 6}, {2, 3})},
                      {"n", Tensor::from<int64_t>({-7}, {})},
                      {"codes", Tensor::from<uint8_t>({1, 2, 255}, {3})},
                      {"none", Tensor::zeros({0, 4})}}};
}

// The message that read() throws; empty if it does not.
std::string refusal(const fs::path& p, const std::string& bytes) {
  write_file(p, bytes);
  try {
    nn::SafeTensors::read(p);
  } catch (const FileError& e) {
    return e.what();
  }
  return {};
}

}  // namespace

TEST_CASE("a file has the layout of the safetensors format") {
  const TempFolder folder;
  nn::SafeTensors{.metadata = {{"k", "v"}},
                  .tensors = {{"b", Tensor::from<uint8_t>({9, 8}, {2})}, {"a", Tensor::from<float>({1}, {1, 1})}}}
      .write(folder / "f");
  std::string header = R"({"__metadata__":{"k":"v"},"a":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]},)"
                       R"("b":{"dtype":"U8","shape":[2],"data_offsets":[4,6]}})";
  header.resize(round_up(header.size(), 8), ' ');
  std::string want = file(header, 0);
  want += std::string("\0\0\x80\x3f", 4) + "\x09\x08";
  CHECK(read_file(folder / "f") == want);
}

TEST_CASE("every dtype, layout and rank comes back as it went") {
  const TempFolder folder;
  nn::SafeTensors out = sample();
  for (const DType t : {DType::f32, DType::f64, DType::bf16, DType::i8, DType::u8, DType::i32, DType::i64}) {
    Tensor x = Tensor::empty({2, 3}, t);
    x.copy_from(Tensor::from<double>({1, 2, 3, 4, 5, 6}, {2, 3}));
    out.tensors.emplace_back(std::string(name(t)), x);
  }
  Tensor image = Tensor::empty({1, 2, 2, 2}, DType::f32, Device::cpu(), MemoryFormat::channels_last);
  image.copy_from(Tensor::from<float>({1, 2, 3, 4, 5, 6, 7, 8}, {1, 2, 2, 2}));
  out.tensors.emplace_back("channels_last", image);
  out.tensors.emplace_back("transposed", Tensor::from<float>({1, 2, 3, 4, 5, 6}, {2, 3}).as_strided({3, 2}, {1, 3}));
  out.write(folder / "f");

  const nn::SafeTensors in = nn::SafeTensors::read(folder / "f");
  CHECK(in.metadata == out.metadata);
  REQUIRE(in.tensors.size() == out.tensors.size());
  for (const auto& [name, t] : out.tensors) {
    INFO(name);
    const Tensor back = in.find(name);
    REQUIRE(back);
    CHECK(back.shape() == t.shape());
    CHECK(back.dtype() == t.dtype());
    CHECK(back.is_contiguous());
    CHECK(back.to_vector() == t.to_vector());
  }
  CHECK(!in.find("absent"));

  in.write(folder / "g");
  CHECK(read_file(folder / "g") == read_file(folder / "f"));
}

TEST_CASE("equal content gives equal bytes in whatever order it is listed") {
  const TempFolder folder;
  nn::SafeTensors t = sample();
  t.write(folder / "f");
  std::reverse(t.tensors.begin(), t.tensors.end());
  t.write(folder / "g");
  CHECK(read_file(folder / "f") == read_file(folder / "g"));
  nn::SafeTensors{}.write(folder / "empty");
  CHECK(nn::SafeTensors::read(folder / "empty").tensors.empty());
}

TEST_CASE("a file cut anywhere is refused") {
  const TempFolder folder;
  sample().write(folder / "f");
  const std::string whole = read_file(folder / "f");
  for (size_t n = 0; n < whole.size(); ++n) {
    INFO("first " << n << " bytes");
    CHECK(!refusal(folder / "cut", whole.substr(0, n)).empty());
  }
  CHECK(refusal(folder / "longer", whole + "x").find("belong to no tensor") != std::string::npos);
}

TEST_CASE("a flipped bit gives a FileError or tensors that can be read") {
  const TempFolder folder;
  sample().write(folder / "f");
  const std::string whole = read_file(folder / "f");
  size_t refused = 0;
  for (size_t bit = 0; bit < whole.size() * 8; ++bit) {
    std::string bytes = whole;
    bytes[bit / 8] = char(bytes[bit / 8] ^ (1 << bit % 8));
    write_file(folder / "flipped", bytes);
    try {
      for (const auto& [name, t] : nn::SafeTensors::read(folder / "flipped").tensors)
        CHECK(t.to_vector().size() == size_t(t.numel()));
    } catch (const FileError& e) {
      CHECK(std::string(e.what()).find("flipped") != std::string::npos);
      ++refused;
    }
  }
  CHECK(refused > whole.size());
}

TEST_CASE("headers that lie are refused by name") {
  const TempFolder folder;
  const auto check = [&](const std::string& header, size_t data_bytes, const std::string& expected) {
    const std::string text = refusal(folder / "bad", file(header, data_bytes));
    INFO(header << "\n" << text);
    CHECK(text.find(expected) != std::string::npos);
    CHECK(text.find("bad") != std::string::npos);
  };
  const std::string a = R"("a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]})";
  REQUIRE(refusal(folder / "good", file("{" + a + "}", 4)).empty());

  check(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4, "but has 4 bytes");
  check(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[4,0]}})", 4, "\"a\" has the offsets");
  check(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[1,5]}})", 5, "\"a\" has the offsets");
  check(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,8]}})", 4, "\"a\" has the offsets");
  check("{" + a + R"(,"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})", 6, "\"b\" has the offsets [2,6)");
  check("{" + a + R"(,"b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4, "has the offsets [0,4)");
  check("{" + a + "," + a + "}", 4, "\"a\" occurs twice");
  check(R"({"a":{"dtype":"U8","dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4, "repeated key \"dtype\"");
  check(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4],"x":1}})", 4, "unknown or repeated key \"x\"");
  check(R"({"__metadata__":{"x":"1","x":"2"}})", 0, "\"x\" twice");
  check(R"({"__metadata__":{"x":1}})", 0, "a number where none may be");
  check(R"({"__metadata__":[]})", 0, "an array where none may be");
  check(R"({"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}})", 4, "unsupported dtype \"F16\"");
  check(R"({"a":{"dtype":"U8","shape":[4]}})", 4, "lacks");
  check(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0]}})", 4, "not two data_offsets");
  check(R"({"a":{"dtype":"U8","shape":[1,1,1,1,1,1,4],"data_offsets":[0,4]}})", 4, "more than 6 numbers");
  check(R"({"a":{"dtype":"U8","shape":[-4],"data_offsets":[0,4]}})", 4, "negative");
  check(R"({"a":{"dtype":"U8","shape":[4.0],"data_offsets":[0,4]}})", 4, "not an integer");
  check(R"({"a":{"dtype":"U8","shape":[[4]],"data_offsets":[0,4]}})", 4, "an array where none may be");
  check(R"({"a":{"dtype":"U8","shape":null,"data_offsets":[0,4]}})", 4, "null");
  check(R"({"a":{"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,4]}})", 4, "too large");
  // The product is 2^64 in elements, and in bytes: both wrap to 0.
  check(R"({"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0, "\"a\" is u8");
  check(R"({"a":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}})", 0, "\"a\" is f64");
  check("[]", 0, "an array where none may be");
  check("7", 0, "a number where none may be");
  check("{" + a + "} x", 4, "no valid JSON at byte");
  check("{" + a, 4, "no valid JSON at byte");
  check("{" + a + "}" + std::string(2, '\0'), 4, "the header has a zero byte");
  check("{\"\xff\":1}", 0, "no valid JSON at byte");
  check(R"({"a":)" + std::string(200000, '['), 0, "an array where none may be");
  check(R"({"a":{"b":)" + std::string(200000, '{'), 0, "unknown or repeated key \"b\"");

  std::string huge(8, '\xff');
  CHECK(refusal(folder / "bad", huge + "{}").find("the header's size 18446744073709551615") != std::string::npos);
  CHECK(refusal(folder / "bad", "").find("has 0 bytes") != std::string::npos);
  CHECK_THROWS_AS(nn::SafeTensors::read(folder / "absent"), FileError);
  CHECK_THROWS_AS(nn::SafeTensors::read(folder.path), FileError);
  REQUIRE(::mkfifo((folder / "fifo").c_str(), 0600) == 0);
  CHECK_THROWS_WITH(nn::SafeTensors::read(folder / "fifo"), Catch::Contains("fifo: is not a regular file"));
}

TEST_CASE("how deep brackets are nested is known without parsing") {
  CHECK_FALSE(nn::nested_deeper("", 0));
  CHECK_FALSE(nn::nested_deeper(R"({"a":[{},{},[]]})", 3));
  CHECK(nn::nested_deeper(R"({"a":[{},{},[]]})", 2));
  CHECK_FALSE(nn::nested_deeper(R"(["[[[", "\"[[", "\\"])", 1));
  CHECK(nn::nested_deeper(R"(["\\", [1]])", 1));
  CHECK(nn::nested_deeper(std::string(100000, '['), 99999));
}

TEST_CASE("a failed write leaves the old file and nothing else") {
  const TempFolder folder;
  sample().write(folder / "f");
  const std::string old = read_file(folder / "f");
  const auto files = [&] { return std::distance(fs::directory_iterator(folder.path), fs::directory_iterator()); };

  SECTION("when the disk is full") {
    // A limit on the size of files gives write() the same end as a full disk.
    const auto previous_handler = std::signal(SIGXFSZ, SIG_IGN);
    rlimit previous{};
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &previous) == 0);
    const rlimit limit{4096, previous.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
    std::string text;
    try {
      nn::SafeTensors{.metadata = {}, .tensors = {{"big", Tensor::zeros({100000})}}}.write(folder / "f");
    } catch (const FileError& e) {
      text = e.what();
    }
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &previous) == 0);
    std::signal(SIGXFSZ, previous_handler);
    CHECK(text.find("cannot write byte 4096") != std::string::npos);
  }
  SECTION("when a name occurs twice") {
    const Tensor t = Tensor::zeros({1});
    CHECK_THROWS_AS((nn::SafeTensors{.metadata = {}, .tensors = {{"a", t}, {"a", t}}}.write(folder / "f")), FileError);
    CHECK_THROWS_AS((nn::SafeTensors{.metadata = {}, .tensors = {{"__metadata__", t}}}.write(folder / "f")), FileError);
  }
  SECTION("when a name is no text") {
    const Tensor t = Tensor::zeros({1});
    CHECK_THROWS_AS((nn::SafeTensors{.metadata = {}, .tensors = {{"\xff", t}}}.write(folder / "f")), FileError);
  }
  SECTION("when it goes through a link") {
    fs::create_symlink("f", folder / "link");
    CHECK_THROWS_AS((nn::SafeTensors{.metadata = {{"\xff", ""}}, .tensors = {}}.write(folder / "link")), FileError);
    sample().write(folder / "link");
    CHECK(fs::is_symlink(folder / "link"));
    fs::remove(folder / "link");
  }
  SECTION("when the folder does not exist") { CHECK_THROWS_AS(sample().write(folder / "absent" / "f"), FileError); }
  CHECK(read_file(folder / "f") == old);
  CHECK(files() == 1);
}

TEST_CASE("extract takes out what has a prefix") {
  const Tensor t = Tensor::zeros({1});
  nn::SafeTensors f{.metadata = {}, .tensors = {{"w", t}, {"optimizer.w.momentum", t}, {"optimizer.step", t}}};
  const auto state = f.extract("optimizer.");
  REQUIRE(state.size() == 2);
  CHECK(state[0].first == "w.momentum");
  CHECK(state[1].first == "step");
  REQUIRE(f.tensors.size() == 1);
  CHECK(f.tensors[0].first == "w");
}

namespace {

void build(nn::ParamStore& params, double value) {
  const nn::Scope s = params.root() / "layer";
  s.parameter("weight", {2, 2}, nn::init::constant(value));
  s.buffer("mean", {2}, value);
  s.counter("count");
}

std::string load_failure(const nn::SafeTensors& f, nn::ParamStore& params) {
  try {
    nn::load_parameters(f, params);
  } catch (const FileError& e) {
    return e.what();
  }
  return {};
}

}  // namespace

TEST_CASE("a network's parameters and buffers survive a round trip") {
  const TempFolder folder;
  nn::ParamStore a, b(Device::cpu(), 0, DType::f64);
  build(a, 3);
  build(b, 0);
  a.find("layer.count").fill(5);
  nn::save_safetensors(folder / "f", a, {{"epoch", "12"}});
  CHECK(nn::SafeTensors::read(folder / "f").metadata.at("epoch") == "12");
  nn::load_safetensors(folder / "f", b);  // f32 to f64 is a conversion
  for (const Tensor& t : a.all()) CHECK(b.find(t.name()).to_vector() == t.to_vector());
  CHECK(b.find("layer.weight").requires_grad());
}

TEST_CASE("weights stored as bf16 take half the bytes and come back rounded") {
  const TempFolder folder;
  nn::ParamStore a, b;
  build(a, 1 / 3.0);
  build(b, 0);
  nn::save_safetensors(folder / "f", a, {}, {.weights = DType::bf16});
  const nn::SafeTensors file = nn::SafeTensors::read(folder / "f");
  CHECK(file.find("layer.weight").dtype() == DType::bf16);
  CHECK(file.find("layer.mean").dtype() == DType::f32);
  nn::load_safetensors(folder / "f", b);
  CHECK(b.find("layer.weight").dtype() == DType::f32);
  std::vector<double> rounded = a.find("layer.weight").to_vector();
  for (double& v : rounded) v = double(float(bf16(float(v))));
  CHECK(b.find("layer.weight").to_vector() == rounded);
  CHECK(b.find("layer.mean").to_vector() == a.find("layer.mean").to_vector());
  CHECK_THROWS_AS(nn::save_safetensors(folder / "g", a, {}, {.weights = DType::i8}), DTypeError);
}

TEST_CASE("a network made from a file has its values, and nothing is made that the file has not") {
  nn::ParamStore saved(Device::cpu(), 0, DType::f64);
  build(saved, 3);
  saved.find("layer.count").fill(5);
  nn::SafeTensors file;
  for (const Tensor& t : saved.all()) file.tensors.emplace_back(t.name(), t);

  nn::ParamStore loaded(Device::cpu(), nn::values_of(file, "f"));
  build(loaded, 0);
  for (const Tensor& t : saved.all()) CHECK(loaded.find(t.name()).to_vector() == t.to_vector());
  CHECK(loaded.find("layer.weight").requires_grad());
  CHECK(loaded.find("layer.weight").dtype() == DType::f32);
  CHECK(loaded.find("layer.weight").storage() != file.find("layer.weight").storage());

  nn::ParamStore other(Device::cpu(), nn::values_of(file, "f"));
  const nn::Scope s = other.root() / "layer";
  constexpr int64_t kHuge = int64_t{1} << 30;  // elements in each direction: making it would fail otherwise
  const auto never = [](std::span<double>, const Shape&, Generator&) { FAIL("initialised"); };
  CHECK_THROWS_WITH(s.parameter("weight", {kHuge, kHuge}, never), Catch::Contains("f does not fit the network: layer"));
  CHECK_THROWS_WITH(s.parameter("bias", {kHuge, kHuge}, never), Catch::Contains("missing: layer.bias"));
  CHECK_THROWS_WITH(s.buffer("mean", {kHuge}, 0), Catch::Contains("layer.mean is f64[2]"));
  CHECK_THROWS_WITH(s.counter("mean"), Catch::Contains("the network needs i64[]"));
  CHECK(other.all().empty());
}

TEST_CASE("what does not fit the network is listed, and nothing is loaded") {
  nn::ParamStore params;
  build(params, 3);
  nn::SafeTensors f{.metadata = {},
                    .tensors = {{"layer.weight", Tensor::zeros({2, 2})},
                                {"layer.mean", Tensor::zeros({3})},
                                {"layer.extra", Tensor::zeros({1})}}};
  const std::string text = load_failure(f, params);
  CHECK(text.find("unexpected: layer.extra") != std::string::npos);
  CHECK(text.find("missing: layer.count") != std::string::npos);
  CHECK(text.find("layer.mean is f32[3], the network needs f32[2]") != std::string::npos);
  CHECK(params.find("layer.weight").to_vector() == std::vector<double>(4, 3));

  // Shapes must fit even when names need not.
  CHECK_THROWS_AS(nn::load_parameters(f, params, {.strict = false}), FileError);
  f.tensors[1].second = Tensor::zeros({2});
  nn::load_parameters(f, params, {.strict = false});
  CHECK(params.find("layer.weight").to_vector() == std::vector<double>(4, 0));

  f.tensors[1].second = Tensor::zeros({2}, DType::i8);
  CHECK(load_failure(f, params).find("layer.mean is i8[2]") != std::string::npos);

  for (int i = 0; i < 1000; ++i) f.tensors.emplace_back("extra" + std::to_string(i), Tensor::zeros({1}));
  const std::string many = load_failure(f, params);
  CHECK(many.find("; and ") != std::string::npos);
  CHECK(many.size() < 200);
  CHECK(many.find('\n') == std::string::npos);
}
