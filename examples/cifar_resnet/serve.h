// A web server for the live page.
#pragma once

#include <memory>
#include <string>

#include "examples/cifar_resnet/live_feed.h"

namespace cifar_resnet {

// Answers in threads of its own: the page at /, the feed's messages as server-sent events at /events, the things of the
// feed at /things/NAME. Serves a bounded number of visitors and waits for none longer than seconds.
class LiveServer {
 public:
  // `address` is PORT, for visitors from this machine, or HOST:PORT; port 0 is any that is free. Throws ValueError if
  // it is no address or nothing can listen there, or if the program was built without a web server.
  LiveServer(const std::string& address, LiveFeed& feed);
  // Closes the feed, gives its readers seconds for what they have not read yet.
  ~LiveServer();
  LiveServer(const LiveServer&) = delete;
  LiveServer& operator=(const LiveServer&) = delete;

  const std::string& url() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cifar_resnet
