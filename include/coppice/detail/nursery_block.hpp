// SPDX-License-Identifier: Apache-2.0
// The coroutines of open_nursery() and nursery::start(). Included by nursery.hpp, at its end.
#pragma once
// By name too: nursery.hpp and this include each other, and #pragma once does not hold for the file
// that a tool is given.
#ifndef COPPICE_DETAIL_NURSERY_BLOCK
#define COPPICE_DETAIL_NURSERY_BLOCK

#include <memory>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>

#include "coppice/detail/block.hpp"
#include "coppice/detail/child_task.hpp"
#include "coppice/nursery.hpp"

namespace coppice {

namespace detail {

/// The coroutine of open_nursery(). `N` is nursery or derives from it, and is made with
/// (task_node&, init...).
template <class N, class T, class Body, class... Init>
task<T> nursery_block(Body body, Init... init) {
  task_node& self = co_await this_task{};
  N n(self, std::move(init)...);
  settled<T> how;
  if constexpr (is_task<std::invoke_result_t<Body&, N&>>::value) {
    std::optional<frame<T>> inner = make_frame<T>(how, body, n);
    if (inner) how = co_await captured<T>(std::move(*inner));
  } else {
    call_plain<T>(how, body, n);
  }
  n.body_ended(how.error());
  do {
    co_await n.join();
  } while (!n.idle());  // Somebody may start a task between the end of the last and our turn.
  n.close();
  if constexpr (!std::is_void_v<T>) {
    if (!how.has_value()) n.throw_no_value();
    co_return std::move(how.value());
  }
}

template <class N, class Body, class... Init>
auto open_block(Body&& body, Init... init) {
  check_body<Body>();
  return nursery_block<N, body_value_t<Body, N>>(body_t<Body>(std::forward<Body>(body)),
                                                 std::move(init)...);
}

/// The coroutine of nursery::start(): a nursery of its own has the task until it says started().
template <class T>
task<T> start_block(nursery* to, std::unique_ptr<child_base> child) {
  task_node& self = co_await this_task{};
  nursery starting(self, "start");
  settled<T> value;
  start_slot slot{&starting, to, &value};
  child->expect_started(slot);
  to->hold();
  starting.adopt(std::move(child));
  co_await starting.join();
  to->unhold();
  starting.close();
  if (!value.has_value()) starting.throw_not_started();
  co_return value.take();
}

template <class Fn, class... Args>
auto start_child(nursery& n, std::string_view name, Fn&& fn, Args&&... args) {
  using seen = callable<Fn>;
  static_assert(
      seen::takes_status,
      "start() waits for status.started(): take task_status<T> as the last parameter, or use "
      "start_soon()");
  using value = typename is_status<typename seen::last>::status_value;
  return start_block<value>(&n,
                            make_child(n, name, std::forward<Fn>(fn), std::forward<Args>(args)...));
}

}  // namespace detail

}  // namespace coppice

#endif
