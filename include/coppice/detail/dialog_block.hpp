// SPDX-License-Identifier: Apache-2.0
// The coroutines of portal::open_context() and open_stream_from().
#pragma once

#include <concepts>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include "coppice/cancel_scope.hpp"
#include "coppice/context.hpp"
#include "coppice/detail/block.hpp"
#include "coppice/detail/call.hpp"
#include "coppice/detail/dialog_end.hpp"
#include "coppice/detail/endpoint_function.hpp"
#include "coppice/function_name.hpp"
#include "coppice/task.hpp"

namespace coppice::tree {
class opened_dialog;
}

namespace coppice::detail {

/// A dialog that this actor opened, for as long as the block of it runs.
///
/// Owner: the block's frame. Thread: its actor's loop.
class dialog_handle {
 public:
  enum class kind : unsigned char { context, generator };

  /// Sends the request. `options`: of the stream that a generator has from the beginning. Throws
  /// actor_died, transport_closed, out_of_order.
  dialog_handle(call_target t, std::string name, payload kwargs, kind k,
                const stream_options& options = {});
  ~dialog_handle();
  dialog_handle(const dialog_handle&) = delete;
  dialog_handle& operator=(const dialog_handle&) = delete;

  /// Waits for the callee's first word. Throws what came instead.
  task<payload> first_word();
  void body_begins(cancel_scope& around);
  void body_ends() noexcept;
  /// Waits for the dialog's end, or causes it if the body failed: how it all ended, see
  /// portal::open_context(). Empty: cancelled by this side.
  task<std::optional<payload>> last_word(std::exception_ptr body);

  dialog_end& end() noexcept;
  payload_context about(std::string_view message) const noexcept;

 private:
  std::unique_ptr<tree::opened_dialog> dialog_;
};

/// Runs a body in a scope that ends with the dialog. What the dialog ended is no failure of it.
template <class T, class Body, class... Args>
task<settled<T>> dialog_body(dialog_handle* dialog, Body* body, Args*... args) {
  task_node& self = co_await this_task{};
  settled<T> how;
  cancel_scope scope(self, {.name = std::string(dialog->end().function())});
  dialog->body_begins(scope);
  if constexpr (is_task<std::invoke_result_t<Body&, Args&...>>::value) {
    std::optional<frame<T>> inner = make_frame<T>(how, *body, *args...);
    if (inner) how = co_await captured<T>(std::move(*inner));
  } else {
    call_plain<T>(how, *body, *args...);
  }
  dialog->body_ends();
  if (scope.absorbs(how.error())) how.fail(nullptr);
  co_return how;
}

template <class T>
using context_result_t = std::conditional_t<std::is_void_v<T>, bool, std::optional<T>>;

template <class D, class Body>
constexpr void check_context_body() {
  using word = started_t<D>;
  check_body<Body>();
  check_dialog<D>();
  using body = std::remove_reference_t<Body>;
  if constexpr (std::is_void_v<word>) {
    static_assert(std::invocable<body&, remote_context<D>&>,
                  "the body of this dialog is [&](remote_context<D>& ctx) -> task<> {…}: its first "
                  "word is void");
  } else {
    static_assert(std::invocable<body&, remote_context<D>&, word&>,
                  "the body of a dialog is [&](remote_context<D>& ctx, D::started first) -> task<> "
                  "{…}");
  }
}

template <class D, class Body>
struct context_body_value {
  using type = body_value_t<Body, remote_context<D>, started_t<D>>;
};
template <class D, class Body>
  requires std::is_void_v<started_t<D>>
struct context_body_value<D, Body> {
  using type = body_value_t<Body, remote_context<D>>;
};

template <class D, class R, class Body>
task<context_result_t<R>> context_block(call_target t, std::string name, payload kwargs,
                                        Body body) {
  using word = started_t<D>;
  static_assert(std::is_void_v<typename context_body_value<D, Body>::type>,
                "the value of open_context() is the callee's result: the body gives none");
  dialog_handle dialog(t, std::move(name), std::move(kwargs), dialog_handle::kind::context);
  remote_context<D> ctx(dialog.end());
  settled<void> how;
  auto opening = take(dialog.first_word());
  auto first = co_await captured<payload>(std::move(opening));
  settled<word> said;
  if (first.error()) {
    how.fail(first.error());
  } else if constexpr (std::is_void_v<word>) {
    auto running = take(dialog_body<void>(&dialog, &body, &ctx));
    auto ran = co_await captured<settled<void>>(std::move(running));
    how = ran.take();
  } else {
    try {
      said.emplace(
          decode_payload<word>(std::move(first.value()), [&] { return dialog.about("Started"); }));
    } catch (...) {
      how.fail(std::current_exception());
    }
    if (said.has_value()) {
      auto running = take(dialog_body<void>(&dialog, &body, &ctx, &said.value()));
      auto ran = co_await captured<settled<void>>(std::move(running));
      how = ran.take();
    }
  }
  auto ending = take(dialog.last_word(how.error()));
  auto ended = co_await captured<std::optional<payload>>(std::move(ending));
  std::optional<payload> last = ended.take();
  if constexpr (std::is_void_v<R>) {
    co_return last.has_value();
  } else {
    std::optional<R> result;
    if (last)
      result.emplace(decode_payload<R>(std::move(*last), [&] { return dialog.about("Return"); }));
    co_return result;
  }
}

template <class T, class Body>
task<body_value_t<Body, stream<void, T>>> generator_block(call_target t, std::string name,
                                                          payload kwargs, stream_options options,
                                                          Body body) {
  using V = body_value_t<Body, stream<void, T>>;
  dialog_handle dialog(t, std::move(name), std::move(kwargs), dialog_handle::kind::generator,
                       options);
  settled<V> how;
  {
    stream<void, T> values(dialog.end(), options);
    auto running = take(dialog_body<V>(&dialog, &body, &values));
    auto ran = co_await captured<settled<V>>(std::move(running));
    how = ran.take();
  }
  auto ending = take(dialog.last_word(how.error()));
  auto ended = co_await captured<std::optional<payload>>(std::move(ending));
  (void)ended.take();
  if constexpr (!std::is_void_v<V>) {
    check(how.has_value(), "a body without a value has failed, or its dialog has");
    co_return std::move(how.value());
  }
}

template <class First = void, class... Rest>
inline constexpr bool begins_with_options =
    std::is_same_v<std::remove_cvref_t<First>, stream_options>;

/// Calls `with(body, leading arguments...)`: a parameter pack cannot end in one more parameter.
template <class With, class... Args>
decltype(auto) body_last(With&& with, Args&&... args) {
  static_assert(sizeof...(Args) > 0, "the last argument is the body");
  auto all = std::forward_as_tuple(std::forward<Args>(args)...);
  return [&]<std::size_t... I>(std::index_sequence<I...>) -> decltype(auto) {
    return with(std::get<sizeof...(Args) - 1>(std::move(all)), std::get<I>(std::move(all))...);
  }(std::make_index_sequence<sizeof...(Args) - 1>());
}

template <class D, class R, class Body>
auto open_context(call_target t, function_name name, payload kwargs, Body&& body) {
  check_context_body<D, Body>();
  return context_block<D, R>(t, std::string(name.text()), std::move(kwargs),
                             body_t<Body>(std::forward<Body>(body)));
}

template <class T, class Body>
auto open_stream(call_target t, function_name name, payload kwargs, const stream_options& options,
                 Body&& body) {
  check_body<Body>();
  static_assert(std::invocable<std::remove_reference_t<Body>&, stream<void, T>&>,
                "the body of a one-way stream is [&](stream<void, T>& values) -> task<> {…}");
  return generator_block<T>(t, std::string(name.text()), std::move(kwargs), options,
                            body_t<Body>(std::forward<Body>(body)));
}

/// The endpoint is used as what it is.
template <endpoint_kind is, endpoint_kind used_as>
constexpr void check_kind() {
  static_assert(is != endpoint_kind::context || used_as == is,
                "this endpoint is a dialog: open it with open_context()");
  static_assert(is != endpoint_kind::generator || used_as == is,
                "this endpoint is a generator: take its values with open_stream_from()");
  static_assert(is != endpoint_kind::call || used_as == is, "this endpoint is a call: use run()");
}

}  // namespace coppice::detail
