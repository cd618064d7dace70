// Stands in for serve.cpp in a build without cpp-httplib.
#include "core/error.h"
#include "examples/cifar_resnet/serve.h"

namespace cifar_resnet {

struct LiveServer::Impl {
  std::string url;
};

LiveServer::LiveServer(const std::string&, LiveFeed&) {
  throw mininn::ValueError(
      "--serve: this program was built without a web server: install libcpp-httplib-dev, configure and build again");
}
LiveServer::~LiveServer() = default;

const std::string& LiveServer::url() const { return impl_->url; }

}  // namespace cifar_resnet
