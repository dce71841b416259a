// SPDX-License-Identifier: Apache-2.0
// A function that other actors can call: its name, its parameters' names, their types.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>

#include "coppice/detail/arguments.hpp"
#include "coppice/detail/endpoint_function.hpp"
#include "coppice/detail/invoke.hpp"
#include "coppice/detail/names.hpp"
#include "coppice/function_name.hpp"
#include "coppice/kw.hpp"
#include "coppice/message.hpp"
#include "coppice/task.hpp"

namespace coppice {

/// The last argument of an endpoint whose one parameter is a struct: its fields are the arguments.
struct as_kwargs_t {};
inline constexpr as_kwargs_t as_kwargs{};

/// In a signature: the fields of S are the keyword arguments. `endpoint<R(keywords<S>)>`.
template <class S>
struct keywords {};

namespace detail {
struct declared_only {};  // In place of a function: somebody else implements it.
}  // namespace detail

/// A value that names a function of another actor, typed:
///
///     task<std::int64_t> count_primes(std::int64_t start, std::int64_t stop);
///     inline constexpr endpoint count{"primes:count_primes", count_primes, "start", "stop"};
///
///     inline constexpr endpoint<double(std::string)> quote{"feed_py:quote", "symbol"};
///     inline constexpr endpoint trade_e{"market:trade", trade, "symbol"};  // takes context<D>&
///     inline constexpr endpoint<std::string(std::string), trading> t{"market_py:trade", "symbol"};
///     inline constexpr endpoint<generator<double>(std::string)> ticks{"feed_py:ticks", "symbol"};
///     inline constexpr endpoint add{"counter:add", &counter::add, "by"};
///     inline constexpr endpoint search{"index:find", find, as_kwargs};
///
/// `quote` is only declared: Python implements it. `add` is a member function: each actor that
/// exposes it has one `counter`, made when first used. `find(query)` takes one struct, whose fields
/// are its keyword arguments with their defaults.
///
/// Promises, checked while compiling: the name has the form module:function, there is one name per
/// parameter, all are identifiers and no Python keywords, every type can travel and the result owns
/// what it refers to. What the function is follows from its type: `task<T>` or plain `T` a call, a
/// leading `context<D>&` a dialog, `generator<T>` a one-way stream. That parameter, and a leading
/// `actor&`, are handed in by the runtime and have no name. A `std::optional` parameter may be left
/// out by the caller.
///
/// It does nothing by itself: who implements it lists it in the options of run_main() or runtime.
/// Naming a function makes callers link it; programs that only call use the declared form.
///
/// # Why are the parameters' names written out?
/// The wire carries named arguments, and C++ keeps no names of parameters anywhere.
///
/// Owner: a constexpr variable at namespace scope: what lists it refers to it. Thread: any.
template <class Signature, class Dialog = void, class Function = detail::declared_only>
class endpoint;  // Dialog: the types of a context; void: none.

namespace detail {
template <class R, class Dialog>
constexpr endpoint_kind kind_of() {
  if (!std::is_void_v<Dialog>) return endpoint_kind::context;
  return is_generator<R> ? endpoint_kind::generator : endpoint_kind::call;
}
}  // namespace detail

template <class R, class... Param, class Dialog, class Function>
class endpoint<R(Param...), Dialog, Function> {
  static_assert((message<Param> && ...),
                "a parameter's type cannot travel: see the table in coppice/message.hpp");
  static_assert(detail::result_travels<R>,
                "the result's type cannot travel, or is a view: see the table in "
                "coppice/message.hpp and return std::string or std::vector<std::byte> for views");

 public:
  using result = R;
  using dialog = Dialog;
  using function_type = Function;
  static constexpr endpoint_kind kind = detail::kind_of<R, Dialog>();
  static constexpr std::size_t parameter_count = sizeof...(Param);

  template <std::size_t N, std::size_t... M>
    requires std::same_as<Function, detail::declared_only>
  consteval endpoint(const char (&name)[N], const char (&... parameters)[M])
      : endpoint(name, Function(), parameters...) {}

  template <std::size_t N, std::size_t... M>
  consteval endpoint(const char (&name)[N], Function f, const char (&... parameters)[M])
      : name_(name),
        parameters_{detail::checked_name(std::string_view(parameters, M - 1))...},
        function_(f) {
    static_assert(sizeof...(M) == sizeof...(Param),
                  "write one name for each parameter of the function (a leading actor& has none)");
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      for (std::size_t j = 0; j < i; ++j) {
        if (parameters_[i] == parameters_[j]) throw detail::parameter_is_named_twice{};
      }
    }
  }

  constexpr function_name name() const noexcept { return name_; }
  constexpr std::span<const std::string_view> parameters() const noexcept { return parameters_; }
  constexpr Function function() const noexcept { return function_; }

  /// The arguments as they travel. Throws argument_error if a number does not fit its parameter.
  template <class... Arg>
  payload arguments(Arg&&... args) const {
    static_assert(sizeof...(Arg) <= sizeof...(Param),
                  "more arguments than the endpoint has parameters");
    static_assert(tail_is_optional(sizeof...(Arg)),
                  "an argument is missing: only std::optional parameters may be left out");
    static_assert((safe_temporary<Arg&&> && ...),
                  "g++ 12 destroys this temporary twice: name it on the line before");
    msgpack::buffer out;
    out.keep_blocks();
    msgpack::writer w(out);
    w.map(sizeof...(Arg));
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      static_assert((argument_fits<I, Arg>() && ...),
                    "an argument's type does not convert to its parameter's");
      ((w.str(parameters_[I]), detail::encode_argument<param<I>>(w, name_.text(), parameters_[I],
                                                                 std::forward<Arg>(args))),
       ...);
    }(std::index_sequence_for<Arg...>());
    return payload::take(std::move(out));
  }

  /// Decodes the arguments and throws argument_error if they do not fit, before anything runs; the
  /// task that it returns then calls the function. `end` is that of a dialog, else null. For
  /// exposed.
  static task<payload> invoke(const void* self_endpoint, actor& self, payload kwargs,
                              detail::dialog_end* end) {
    const auto& e = *static_cast<const endpoint*>(self_endpoint);
    auto args = detail::decode_arguments<Param...>(e.name_.text(), e.parameters_, kwargs);
    return detail::run_endpoint(e.function_, self, std::move(kwargs), std::move(args), end);
  }

 private:
  template <std::size_t I>
  using param = std::tuple_element_t<I, std::tuple<Param...>>;

  template <std::size_t I, class Arg>
  static consteval bool argument_fits() {
    if constexpr (I < sizeof...(Param)) {
      return detail::argument_fits<param<I>, Arg>();
    } else {
      return true;  // Said above already.
    }
  }
  static consteval bool tail_is_optional(std::size_t from) {
    std::size_t i = 0;
    return ((i++ < from || detail::is_optional<Param>) && ...);
  }

  function_name name_;
  std::array<std::string_view, sizeof...(Param)> parameters_;
  [[no_unique_address]] Function function_;
};

template <class R, class S, class Dialog, class Function>
class endpoint<R(keywords<S>), Dialog, Function> {
  static_assert(detail::plain_aggregate<S> && message<S>,
                "as_kwargs takes one struct: a plain aggregate whose fields can all travel");
  static_assert(detail::result_travels<R>,
                "the result's type cannot travel, or is a view: see the table in "
                "coppice/message.hpp and return std::string or std::vector<std::byte> for views");

 public:
  using result = R;
  using dialog = Dialog;
  using function_type = Function;
  static constexpr endpoint_kind kind = detail::kind_of<R, Dialog>();
  using keywords_type = S;
  static constexpr std::size_t parameter_count = detail::field_count<S>;

  template <std::size_t N>
    requires std::same_as<Function, detail::declared_only>
  consteval endpoint(const char (&name)[N]) : endpoint(name, Function(), as_kwargs) {}

  template <std::size_t N>
  consteval endpoint(const char (&name)[N], Function f, as_kwargs_t) : name_(name), function_(f) {
    for (const std::string_view field : detail::field_names<S>) (void)detail::checked_name(field);
  }

  constexpr function_name name() const noexcept { return name_; }
  constexpr std::span<const std::string_view> parameters() const noexcept {
    return detail::field_names<S>;
  }
  constexpr Function function() const noexcept { return function_; }

  /// The arguments as they travel: every field, whether it has its default or not.
  payload arguments(const S& fields) const { return to_payload(fields); }

  /// See the other kind.
  static task<payload> invoke(const void* self_endpoint, actor& self, payload kwargs,
                              detail::dialog_end* end) {
    const auto& e = *static_cast<const endpoint*>(self_endpoint);
    std::tuple<S> args{detail::decode_keywords<S>(e.name_.text(), kwargs)};
    return detail::run_endpoint(e.function_, self, std::move(kwargs), std::move(args), end);
  }

 private:
  function_name name_;
  [[no_unique_address]] Function function_;
};

template <std::size_t N, class Function, std::size_t... M>
endpoint(const char (&name)[N], Function, const char (&... parameters)[M])
    -> endpoint<detail::signature_t<Function>, detail::dialog_t<Function>, Function>;
template <std::size_t N, class Function>
endpoint(const char (&name)[N], Function, as_kwargs_t)
    -> endpoint<detail::keywords_signature_t<Function>, detail::dialog_t<Function>, Function>;

}  // namespace coppice
