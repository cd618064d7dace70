// A visitor for std::visit made of lambdas.
#pragma once

namespace mininn::quant {

template <class... Fs>
struct Overloaded : Fs... {
  using Fs::operator()...;
};
template <class... Fs>
Overloaded(Fs...) -> Overloaded<Fs...>;

}  // namespace mininn::quant
