// SPDX-License-Identifier: Apache-2.0
// What a thread asks of the loop that waits for it.
#pragma once

#include <exception>
#include <functional>
#include <optional>
#include <type_traits>
#include <utility>

#include "coppice/detail/block.hpp"
#include "coppice/task.hpp"

namespace coppice::detail {

/// Lives on the stack of the thread, which waits until the loop has done with it.
class thread_request {
 public:
  virtual task<> run() = 0;  // In the task that waits for the thread.
  virtual void fail(std::exception_ptr e) noexcept = 0;

 protected:
  ~thread_request() = default;
};

/// Blocks until the loop has run it. Throws `error`; `cancelled`: nobody waits for the thread.
void ask_loop(thread_request& request);

template <class T, class Fn>
class thread_request_for final : public thread_request {
 public:
  explicit thread_request_for(Fn& fn) : fn_(fn) {}
  task<> run() override {
    if constexpr (is_task<std::invoke_result_t<Fn&>>::value) {
      std::optional<frame<T>> inner = make_frame<T>(how_, fn_);
      if (inner) how_ = co_await captured<T>(std::move(*inner));
    } else {
      call_plain<T>(how_, fn_);
    }
    co_return;
  }
  void fail(std::exception_ptr e) noexcept override { how_.fail(std::move(e)); }
  T take() { return how_.take(); }

 private:
  Fn& fn_;
  settled<T> how_;
};

template <class Fn, class... Args>
auto ask_and_take(Fn&& fn, Args&&... args) {
  auto call = [&]() -> decltype(auto) {
    return std::invoke(std::forward<Fn>(fn), std::forward<Args>(args)...);
  };
  using T = std::decay_t<body_value_t<decltype(call)>>;
  thread_request_for<T, decltype(call)> request(call);
  ask_loop(request);
  return request.take();
}

}  // namespace coppice::detail
