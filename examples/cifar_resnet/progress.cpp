#include "examples/cifar_resnet/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <vector>

namespace cifar_resnet {
namespace {

constexpr double kBarSeconds = 0.1, kLineSeconds = 5;  // at least, between two drawings
constexpr int kWidestBar = 30;

std::optional<int> terminal_columns() {
  if (!::isatty(STDOUT_FILENO)) return {};
  winsize size{};
  const bool known = ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? int(size.ws_col) : 80;
}

template <class... Values>
std::string print(const char* pattern, Values... values) {
  char buffer[96];
  std::snprintf(buffer, sizeof buffer, pattern, values...);
  return buffer;
}

}  // namespace

std::string format_seconds(double seconds) {
  if (!std::isfinite(seconds)) return "?";
  if (seconds < 9.95) return print("%.1f s", seconds);
  const auto s = std::llround(seconds);
  if (s < 60) return print("%lld s", s);
  if (s < 3600) return print("%lld min %02lld s", s / 60, s % 60);
  return print("%lld h %02lld min", s / 3600, s % 3600 / 60);
}

Progress::Progress(std::string label, int64_t images, int64_t images_after)
    : Progress(std::move(label), images, images_after, std::cout, terminal_columns()) {}

Progress::Progress(std::string label, int64_t images, int64_t images_after, std::ostream& out,
                   std::optional<int> columns)
    : label_(std::move(label)), images_(images), images_after_(images_after), out_(out), columns_(columns) {}

Progress::~Progress() {
  if (drawn_ && columns_) out_ << "\r\x1b[K" << std::flush;
}

double Progress::images_per_second() const { return double(done_ - begun_) / std::max(seconds(), 1e-9); }

std::string Progress::line(const Values& v, int columns) const {
  const double share = images_ > 0 ? double(done_) / double(images_) : 1;
  std::vector<std::string> parts{print("%3.0f%%", 100 * share), print("%.0f images/s", images_per_second())};
  if (!std::isnan(v.loss)) parts.push_back(print("loss %.4f", v.loss));
  if (!std::isnan(v.accuracy)) parts.push_back(print("accuracy %.2f%%", 100 * v.accuracy));
  if (done_ > begun_) {
    const double per_image = seconds() / double(done_ - begun_);
    std::string left = "left " + format_seconds(per_image * double(images_ - done_));
    if (images_after_ > 0) left += ", in all " + format_seconds(per_image * double(images_ - done_ + images_after_));
    parts.push_back(std::move(left));
  }
  if (!std::isnan(v.lr)) parts.push_back(print("lr %.4g", v.lr));

  std::string text;  // as many of the parts as fit
  for (const std::string& part : parts) {
    if (int(label_.size() + text.size() + 2 + part.size()) >= columns) break;
    text += "  " + part;
  }
  std::string bar;
  if (columns_) {
    const int room = std::min(columns - 1 - int(label_.size() + text.size()) - 2, kWidestBar);
    const int full = int(std::lround(share * room));
    if (room >= 5) bar = "  ";
    for (int i = 0; room >= 5 && i < room; ++i) bar += i < full ? "█" : "░";
  }
  return label_ + bar + text;
}

void Progress::update(int64_t done, const Values& v) {
  done_ = done;
  if (since_drawn_.seconds() < (columns_ ? kBarSeconds : kLineSeconds)) return;
  since_drawn_ = {};
  drawn_ = true;
  if (columns_)
    out_ << "\r\x1b[K" << line(v, *columns_) << std::flush;
  else
    out_ << line(v, 1000) << std::endl;  // flushed: whoever reads the log file sees it
}

void Progress::finish(std::string_view text) {
  if (columns_ && drawn_) out_ << "\r\x1b[K";
  drawn_ = false;
  out_ << label_ << "  " << text << "  " << print("%.0f images/s", images_per_second()) << ", "
       << format_seconds(seconds()) << std::endl;
}

}  // namespace cifar_resnet
