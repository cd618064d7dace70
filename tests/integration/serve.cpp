#include "examples/cifar_resnet/serve.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "tests/support/catch.h"

using namespace cifar_resnet;
using Catch::Contains;

namespace {

std::string port_of(const LiveServer& s) {
  const std::string url = s.url();
  return url.substr(url.rfind(':') + 1, url.size() - url.rfind(':') - 2);
}

// A connection that has sent a request.
class Client {
 public:
  Client(const LiveServer& s, const std::string& request) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(uint16_t(std::stoi(port_of(s))));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::connect(socket_, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0);
    REQUIRE(::send(socket_, request.data(), request.size(), MSG_NOSIGNAL) == ssize_t(request.size()));
  }
  ~Client() { ::close(socket_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Until `end` has come, or nothing more does.
  std::string read_until(const std::string& end) {
    std::string all;
    char some[4096];
    for (ssize_t n; all.find(end) == all.npos && (n = ::recv(socket_, some, sizeof some, 0)) > 0;)
      all.append(some, size_t(n));
    return all;
  }

 private:
  int socket_;
};

std::string get(const std::string& path, const std::string& headers = "") {
  return "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n" + headers + "\r\n";
}

std::string refusal(const std::string& address) {
  LiveFeed feed;
  try {
    const LiveServer server(address, feed);
  } catch (const mininn::ValueError& e) {
    return e.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("addresses at which nothing can be served are refused") {
  for (const char* bad :
       {"", "x", "-1", "65536", "80x", "1.5", ":80", "localhost:", "localhost:x", "99999999999999999999"})
    CHECK_THAT(refusal(bad), Contains("is no PORT or HOST:PORT"));
  CHECK_THAT(refusal("192.0.2.1:0"), Contains("no server can listen there"));  // an address for documents
  LiveFeed feed;
  const LiveServer server("0", feed);
  CHECK_THAT(server.url(), Contains("http://127.0.0.1:"));
  CHECK_THAT(refusal(port_of(server)), Contains("Address already in use"));
}

TEST_CASE("who comes back gets what is new, and after another run everything") {
  LiveFeed feed;
  feed.publish("run", "{}");
  feed.publish("step", "{\"step\":1}");
  const LiveServer server("0", feed);
  const std::string first = Client(server, get("/events")).read_until("\"step\":1");
  const size_t id = first.rfind("id: ");
  REQUIRE(id != first.npos);
  const std::string last = first.substr(id + 4, first.find('\n', id) - id - 4);
  feed.publish("step", "{\"step\":2}");
  for (const auto& [seen, has_old] :
       {std::pair{last, false}, std::pair{"1-" + last, true}, std::pair{std::string("x"), true}}) {
    const std::string again =
        Client(server, get("/events", "Last-Event-ID: " + seen + "\r\n")).read_until("\"step\":2");
    CHECK((again.find("\"step\":1") != again.npos) == has_old);
    CHECK_THAT(again, Contains("\"step\":2"));
  }
}

TEST_CASE("visitors who read nothing, ask for nothing or leave hold nobody up") {
  LiveFeed feed;
  std::optional<LiveServer> server(std::in_place, "0", feed);
  { const Client left(*server, get("/events")); }
  const Client silent(*server, ""), unfinished(*server, "GET /ev");
  const Client deaf(*server, get("/events"));
  while (feed.readers == 0) ::usleep(1000);
  for (size_t i = 0; i < LiveFeed::kMostKept; ++i) feed.publish("step", std::string(1000, 'x'));  // no socket takes it
  CHECK_THAT(Client(*server, get("/")).read_until("EventSource"), Contains("200 OK"));
  server.reset();
  CHECK(feed.closed());
}

TEST_CASE("only so many visitors are served at a time, and those who go make room") {
  LiveFeed feed;
  feed.publish("run", "{}");
  const LiveServer server("0", feed);
  {
    std::vector<std::unique_ptr<Client>> clients;
    for (int i = 0; i < 16; ++i) {
      clients.push_back(std::make_unique<Client>(server, get("/events")));
      CHECK_THAT(clients.back()->read_until("event: run"), Contains("200 OK"));
    }
    CHECK_THAT(Client(server, get("/events")).read_until("too many"), Contains("503"));
    CHECK_THAT(Client(server, get("/")).read_until("</html>"), Contains("200 OK"));
  }
  while (feed.readers > 0) ::usleep(1000);  // noticed when the next comment is sent
}

TEST_CASE("bad requests are answered with an error") {
  LiveFeed feed;
  feed.put("images", "abc");
  const LiveServer server("0", feed);
  const auto answer = [&](const std::string& request) { return Client(server, request).read_until("\r\n"); };
  CHECK_THAT(answer(get("/things/images")), Contains(" 200 "));
  for (const char* path : {"/nothing", "/things/maps/stem/0", "/things/", "/things/../images", "/things/%2e%2e/x"})
    CHECK_THAT(answer(get(path)), Contains(" 404 "));
  CHECK_THAT(answer("POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"), Contains(" 404 "));
  CHECK_THAT(answer("NONSENSE\r\n\r\n"), Contains(" 400 "));
  CHECK_THAT(answer("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n" + std::string(5000, 'x')),
             Contains(" 4"));
  CHECK_THAT(answer(get("/" + std::string(100'000, 'x'))), Contains(" 4"));
}
