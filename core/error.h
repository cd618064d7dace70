// Every failure of the library is one of these exceptions; it never aborts its host and never prints on its own.
#pragma once

#include <concepts>
#include <stdexcept>
#include <string>
#include <string_view>

namespace mininn {

// Their messages hold parts of files and of command lines, and are shown on terminals: control characters other than
// line ends are escaped, and of more than 4000 bytes the middle is left out.
struct Error : std::runtime_error {
  explicit Error(const std::string& what);
};
struct ShapeError : Error {  // sizes that do not fit together; the message names the op and all shapes
  using Error::Error;
};
struct DTypeError : Error {  // an element type the op does not take
  using Error::Error;
};
struct DeviceError : Error {  // mixed devices, or a device this build or machine does not have
  using Error::Error;
};
struct KernelError : Error {  // no kernel accepted the call; the message lists every refusal
  using Error::Error;
};
struct AutogradError : Error {  // stale saved tensors, a graph walked twice, a gradient of the wrong shape
  using Error::Error;
};
struct FileError : Error {  // the message names the file and, where it applies, the byte
  using Error::Error;
};
struct ValueError : Error {  // an option or a number out of its range, NaN where none may be
  using Error::Error;
};

namespace detail {
// As %g prints it in the C locale, whatever the process's locale.
void append_number(std::string& out, double v);

template <class T>
void append(std::string& out, const T& part) {
  if constexpr (std::convertible_to<T, std::string_view>) {
    out += std::string_view(part);
  } else if constexpr (std::same_as<T, char>) {
    out += part;
  } else if constexpr (std::integral<T>) {
    out += std::to_string(part);
  } else if constexpr (std::floating_point<T>) {
    append_number(out, double(part));
  } else {
    out += to_string(part);
  }
}
}  // namespace detail

// Its arguments as one string: message("conv2d: x is ", shape). What is no text, number or character has a to_string().
template <class... Parts>
std::string message(const Parts&... parts) {
  std::string out;
  (detail::append(out, parts), ...);
  return out;
}

// A text of a file or of a command line, as a message shows it: control characters and line ends are escaped, and of
// more than 100 bytes the middle is left out.
std::string excerpt(std::string_view text);

}  // namespace mininn
