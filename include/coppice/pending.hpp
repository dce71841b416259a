// SPDX-License-Identifier: Apache-2.0
// pending: a call that was started from a foreign event loop, which must not block.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "coppice/clock.hpp"
#include "coppice/detail/call.hpp"
#include "coppice/detail/check.hpp"
#include "coppice/payload.hpp"

namespace coppice {

struct call_options {
  duration within = duration::max();   // Then the call is cancelled, and ends in timeout_error.
  std::function<void()> on_done = {};  // Wakes your loop, see `pending`.
};

namespace detail {

/// Shared by whoever started it and the runtime's root. Thread: any.
class started_call {
 public:
  virtual ~started_call() = default;
  virtual bool done() const noexcept = 0;
  virtual bool wait_for(duration bound) const = 0;
  virtual void cancel() = 0;
  virtual payload take() = 0;
};

}  // namespace detail

/// The completion of a call that goes on while its owner does something else: draws frames, runs
/// another event loop.
///
///     auto energy = physics.start<double>({.within = 2s, .on_done = wake}, "physics:energy");
///     …
///     if (energy.ready()) use(energy.take());  // in your loop, woken or once per frame
///
/// Who runs what: the call runs on the runtime's threads. `on_done` is called once, when the call
/// is done and ready() is true, on the thread of the runtime's root (`actor/<name>`); it should do
/// no more than wake your loop by whatever that has for it (uv_async_send, SDL_PushEvent, a write
/// to an eventfd), must not throw, and owns what it uses. Everything else runs on the thread that
/// calls it, and nothing here blocks but wait_for().
///
/// Promises:
/// - It is done once: with the value, the error of the call, timeout_error, or `error` if it was
///   cancelled or the runtime ended first. Each call is; stop() returns after that.
/// - Should the root's own thread be stuck and left behind by stop(), ready() is true and take()
///   says so, but on_done is not called.
/// - Destroying one that is not done cancels the call; on_done is still called.
///
/// # Why not a std::future?
/// It cannot wake anybody. Why is the result not given to on_done? It would have to be handed to
/// your thread once more, and its type would be destroyed on ours.
///
/// Owner: one object; may outlive its runtime. Thread: any, one at a time.
template <class R>
class [[nodiscard("the call is cancelled when this ends")]] pending {
 public:
  explicit pending(std::shared_ptr<detail::started_call> call) : call_(std::move(call)) {}
  pending(pending&&) noexcept = default;
  pending& operator=(pending&& other) noexcept {
    if (this != &other) {
      cancel();
      call_ = std::move(other.call_);
    }
    return *this;
  }
  ~pending() { cancel(); }

  bool ready() const noexcept { return call_ != nullptr && call_->done(); }

  /// Blocks until it is ready, at most so long. For threads that are no loop of ours.
  bool wait_for(duration bound) const { return call_ != nullptr && call_->wait_for(bound); }

  /// The value, or throws the error. Once. REQUIRES: ready().
  R take() {
    detail::check(ready(), "take() of a pending call that is not ready, or was taken: ask ready()");
    const auto call = std::exchange(call_, nullptr);
    return detail::decode_result<R>(call->take());
  }

  /// Asks the call to end. It is done when it has.
  void cancel() {
    if (call_ != nullptr && !call_->done()) call_->cancel();
  }

 private:
  friend class runtime;
  const detail::started_call& state() const noexcept { return *call_; }

  std::shared_ptr<detail::started_call> call_;  // Shared with the runtime's root, which fills it.
};

}  // namespace coppice
