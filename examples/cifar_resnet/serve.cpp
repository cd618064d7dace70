#include "examples/cifar_resnet/serve.h"

#include <httplib.h>

#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <thread>

#include "core/error.h"
#include "examples/cifar_resnet/live_page.h"

namespace cifar_resnet {

using namespace mininn;

namespace {

constexpr int kMostReaders = 16;
constexpr size_t kOtherThreads = 4;  // for what is not /events
constexpr std::chrono::seconds kPatience{2};

struct Address {
  std::string host = "127.0.0.1";
  int port = 0;
};

Address parse(const std::string& text) {
  Address a;
  const size_t colon = text.rfind(':');
  if (colon != text.npos) a.host = text.substr(0, colon);
  if (a.host.starts_with('[') && a.host.ends_with(']')) a.host = a.host.substr(1, a.host.size() - 2);  // IPv6
  const std::string port = colon == text.npos ? text : text.substr(colon + 1);
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), a.port);
  if (error != std::errc() || end != port.data() + port.size() || a.port < 0 || a.port > 65535 || a.host.empty())
    throw ValueError(message("--serve '", excerpt(text), "' is no PORT or HOST:PORT, ports are in [0 - 65535]"));
  return a;
}

}  // namespace

struct LiveServer::Impl {
  explicit Impl(LiveFeed& f) : feed(f) {}

  void route();
  void bind(const std::string& address);
  void events(const httplib::Request& request, httplib::Response& response);
  // The message that a reader who comes back has seen last.
  int64_t last_seen(const httplib::Request& request) const;
  std::string encoded(const LiveFeed::Message& m) const;

  LiveFeed& feed;
  httplib::Server server;
  std::string url;
  // Begins every id of an event: what a page has seen of an earlier run says nothing about this one.
  const std::string run = std::to_string(std::chrono::system_clock::now().time_since_epoch().count()) + '-';
  std::atomic<bool> leaving = false, ended = false;
  std::thread thread;
};

void LiveServer::Impl::route() {
  server.Get("/", [](const httplib::Request&, httplib::Response& response) {
    response.set_content(embedded::live_page.data(), embedded::live_page.size(), "text/html; charset=utf-8");
  });
  server.Get("/events", [this](const auto& request, auto& response) { events(request, response); });
  server.Get("/things/([a-z0-9/]+)", [this](const httplib::Request& request, httplib::Response& response) {
    if (const auto thing = feed.get(request.matches[1]))
      response.set_content(*thing, "application/octet-stream");
    else
      response.status = 404;
  });
  server.set_error_handler([](const httplib::Request&, httplib::Response& response) {
    if (response.body.empty())
      response.set_content(message(response.status, ": there is nothing like this here\n"), "text/plain");
  });
  server.set_default_headers({{"Cache-Control", "no-store"},
                              {"X-Content-Type-Options", "nosniff"},
                              {"Content-Security-Policy", "default-src 'self' 'unsafe-inline'; img-src data:"}});
  server.set_payload_max_length(4096);
  server.set_keep_alive_max_count(1);  // a thread that waits for a next request would be one less for others
  server.set_read_timeout(kPatience);
  server.set_write_timeout(kPatience);
  server.new_task_queue = [] { return new httplib::ThreadPool(kMostReaders + kOtherThreads); };
}

void LiveServer::Impl::bind(const std::string& address) {
  auto [host, port] = parse(address);
  server.set_socket_options([](socket_t s) {  // the library's own would share a port with another program
    const int yes = 1;
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  });
  errno = 0;
  if (port == 0)
    port = server.bind_to_any_port(host);
  else if (!server.bind_to_port(host, port))
    port = -1;
  if (port < 0) {
    const bool known = errno == EADDRINUSE || errno == EACCES || errno == EADDRNOTAVAIL;
    throw ValueError(message("--serve ", excerpt(address), ": no server can listen there: ",
                             known ? std::strerror(errno) : "this is no address of this machine"));
  }
  url = message("http://", host.find(':') == host.npos ? host : '[' + host + ']', ':', port, '/');
}

void LiveServer::Impl::events(const httplib::Request& request, httplib::Response& response) {
  const std::shared_ptr<void> reader(nullptr, [this](void*) { --feed.readers; });
  if (++feed.readers > kMostReaders) {
    response.status = 503;
    response.set_content("503: too many visitors\n", "text/plain");
    return;
  }
  response.set_chunked_content_provider(
      "text/event-stream", [this, reader, last = last_seen(request)](size_t, httplib::DataSink& sink) mutable {
        const bool closed = feed.closed();
        const LiveFeed::Messages messages = feed.after(last);
        if (messages.empty() && closed) {
          sink.done();
          return true;
        }
        const auto send = [&](const std::string& text) { return !leaving && sink.write(text.data(), text.size()); };
        if (messages.empty()) return send(":\n\n");  // fails once nobody is there
        for (const auto& m : messages) {
          if (!send(encoded(*m))) return false;
          last = m->id;
        }
        return true;
      });
}

int64_t LiveServer::Impl::last_seen(const httplib::Request& request) const {
  const std::string id = request.get_header_value("Last-Event-ID");
  int64_t number = 0;
  if (id.starts_with(run)) std::from_chars(id.data() + run.size(), id.data() + id.size(), number);
  return number;
}

std::string LiveServer::Impl::encoded(const LiveFeed::Message& m) const {
  return message("id: ", run, m.id, "\nevent: ", m.kind, "\ndata: ", m.data, "\n\n");
}

LiveServer::LiveServer(const std::string& address, LiveFeed& feed) : impl_(std::make_unique<Impl>(feed)) {
  impl_->route();
  impl_->bind(address);
  impl_->thread = std::thread([impl = impl_.get()] {
    impl->server.listen_after_bind();
    impl->ended = true;
  });
  while (!impl_->server.is_running() && !impl_->ended) std::this_thread::yield();  // stop() does nothing before
}

LiveServer::~LiveServer() {
  impl_->feed.close();
  for (int i = 0; i < 300 && impl_->feed.readers > 0; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  impl_->leaving = true;
  impl_->server.stop();
  impl_->thread.join();
}

const std::string& LiveServer::url() const { return impl_->url; }

}  // namespace cifar_resnet
