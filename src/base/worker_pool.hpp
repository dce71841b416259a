// SPDX-License-Identifier: Apache-2.0
// Threads for work that blocks: made when needed, kept for a while, let go when nobody waits.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/unique_function.hpp"

namespace coppice::base {

/// Each piece of work has a thread to itself, at once: an idle one, the last that was used, or else
/// a new one. How many there are is limited by whoever calls run().
///
/// Promises:
/// - A thread is idle before what its work returned is called: who hears of the end there may use
///   the same thread again.
/// - A thread that has been idle for `idle_max` ends.
/// - Work that was abandoned is in quarantine, counted, until it returns; its thread then ends.
/// - After join_idle() no idle thread is left, after close() no other than one whose work has not
///   returned; that one ends with its work. Both take `join_max` at most: a thread whose
///   thread_local destructors do not return by then is in quarantine for good.
///
/// Work that throws ends the process: nobody could be told.
///
/// # Why not a thread per call?
/// A round trip costs 23 us then, with an idle one 6.
///
/// Owner: one object, or the loops of one runtime together. Thread: any.
class worker_pool {
 public:
  using afterwards = unique_function<void()>;  // May be empty.
  using work = unique_function<afterwards()>;
  using ticket = std::uint64_t;

  struct options {
    std::chrono::milliseconds idle_max = std::chrono::seconds(5);
    std::chrono::milliseconds join_max = std::chrono::seconds(1);
  };
  /// What is in quarantine.
  struct stranded {
    std::string what;
    std::chrono::steady_clock::time_point since;
  };

  explicit worker_pool(std::string name) : worker_pool(std::move(name), options{}) {}
  worker_pool(std::string name, options o);
  ~worker_pool();  // close().
  worker_pool(const worker_pool&) = delete;
  worker_pool& operator=(const worker_pool&) = delete;

  /// Throws std::system_error if there is no thread to be had, or the pool was closed: `w` is gone
  /// then and never runs.
  ticket run(work w);

  /// Nobody waits for that work any more. Nothing if it has returned.
  void abandon(ticket t, std::string what);

  void join_idle();
  void close();  // Later calls of run() throw.

  std::vector<stranded> quarantined() const;
  std::size_t threads() const;  // That have not been told to end.

 private:
  struct state;
  const std::shared_ptr<state> state_;  // Shared with the threads: abandoned work may outlive us.
};

}  // namespace coppice::base
