// SPDX-License-Identifier: Apache-2.0
// SIGINT, SIGTERM and SIGUSR1 as events of the control loop. Handlers, never masks.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "core/alarm.hpp"
#include "core/fd_watch.hpp"
#include "core/loop.hpp"

namespace coppice::tree {

enum class signal_mode : std::uint8_t {
  none,       // An embedder's program: its signals are its own.
  interrupt,  // SIGINT only; Python is the host and handles the rest.
  all,        // SIGINT, SIGTERM and SIGUSR1: the program is ours.
};

/// Turns signals into calls on the control loop. The handler counts, writes an eventfd, and calls
/// the handler that was there before; masks are not touched, since they would survive exec.
///
/// The third SIGINT leaves from the handler itself, with status 130: it works whatever hangs.
///
/// # Why look again every 100 ms?
/// asyncio.run(), trio.run() and user code install their own SIGINT handlers and put others' back.
/// Ours chains to whatever it finds, so it is installed again whenever it is gone.
///
/// Owner: process_runtime. Thread: made, used and ended on the control loop. One per process.
class signal_watch {
 public:
  /// `on_signal(number, nth)`: on the control loop; nth counts the SIGINTs of the last 2 s, from 1.
  signal_watch(core::loop& control, signal_mode mode, std::function<void(int, int)> on_signal);
  ~signal_watch();  // Puts back what it found, where its own handler is still in place.
  signal_watch(const signal_watch&) = delete;
  signal_watch& operator=(const signal_watch&) = delete;

  /// The first signal that asked this process to end, 0 if none has. Any thread.
  static int first() noexcept;

 private:
  void read();
  void look_again();

  core::loop& control_;
  const signal_mode mode_;
  const std::function<void(int, int)> on_signal_;
  std::unique_ptr<core::fd_watch> watch_;
  core::alarm again_;
  int seen_[3] = {};
};

}  // namespace coppice::tree
