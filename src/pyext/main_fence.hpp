// SPDX-License-Identifier: Apache-2.0
// Striking the code that runs in the main interpreter of a process child: by Python's own signals.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>

#include "core/alarm.hpp"
#include "core/loop.hpp"
#include "port/guest_port.hpp"
#include "pyext/guest_actor.hpp"

namespace coppice::py {

/// In the main thread of a main interpreter CPython runs signal handlers between bytecodes and in
/// every wait that returns on EINTR, locks included. So a handler of ours that raises
/// coppice.Interrupted reaches whatever a guest's rung 2 reaches, and needs none of its machinery.
///
/// - A real-time signal, free when install() looks for one, ends one call (strike()).
/// - SIGTERM, which is rung 2 of the `process` backend, ends the actor: it is asked to, and what
///   runs is struck.
/// - SIGINT does nothing: a terminal sends it to every process of the group, and it is the root
///   that decides what it means.
///
/// Owner: child_main(), for the rest of the process. Thread: the main one, attached; strike() any.
class main_fence final : public call_fence, public std::enable_shared_from_this<main_fence> {
 public:
  explicit main_fence(std::shared_ptr<port::guest_port> port) : port_(std::move(port)) {}

  /// False: an exception is set.
  bool install();
  /// SIGTERM ends the process again, whatever it hangs in.
  void give_back_sigterm() noexcept;

  void begin_call(std::uint64_t id) noexcept override { innermost_ = id; }
  void end_call(std::uint64_t id) noexcept override;
  bool stopping() const noexcept override { return false; }
  bool runs(std::uint64_t id) const noexcept { return innermost_ == id; }

  /// Raises Interrupted in call `id` if that is what runs, again and again until it has been
  /// raised. Nothing otherwise.
  void strike(const std::shared_ptr<core::loop>& control, std::uint64_t id);
  /// Control loop only: it is about to end.
  void forget_loop();

  // The handlers, on the main thread. False: an exception is set.
  bool on_strike();
  bool on_terminate();

 private:
  // The signal may come in the moment before the thread enters a wait, which then does not see it:
  // so it is sent again until the handler has run.
  void send(std::uint64_t id, duration gap);

  const std::shared_ptr<port::guest_port> port_;
  pthread_t main_thread_ = ::pthread_self();
  int signal_ = 0;
  std::atomic<std::uint64_t> innermost_{0};
  std::atomic<std::uint64_t> wanted_{0};
  std::optional<core::alarm> again_;  // Control loop only.
};

}  // namespace coppice::py
