// SPDX-License-Identifier: Apache-2.0
// The processes that a guest started: they end with it.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <mutex>
#include <vector>

#include "base/fd.hpp"

namespace coppice::py {

/// A list of direct children of this process, each held by a pidfd from the moment of its start, so
/// that no signal of ours can ever reach a stranger who got the same number.
///
/// Children that the guest itself waits for (subprocess does) drop out by themselves.
///
/// Owner: guest_core. Thread: any.
class child_processes {
 public:
  child_processes() = default;
  child_processes(const child_processes&) = delete;
  child_processes& operator=(const child_processes&) = delete;

  /// `pid` was started by this process just now and nobody has waited for it yet. Keeps the pid
  /// alone if no pidfd is to be had; then end() makes sure that it is still our child before it
  /// kills.
  void record(pid_t pid) noexcept;

  /// Kills whatever is left, with its own descendants (a shell that is killed cannot end its
  /// commands; one that has made itself a daemon is nobody's descendant), and reaps the children.
  /// REQUIRES: nobody else waits for these children any more. Returns how many were not gone within
  /// the bound (in uninterruptible sleep); they stay listed.
  std::size_t end(std::chrono::milliseconds bound) noexcept;

  std::size_t size() const noexcept;

 private:
  struct child {
    pid_t pid;
    base::unique_fd pidfd;  // -1: none could be opened.
  };
  void drop_reaped();  // Those that somebody has waited for.

  // tidy: allow lock: a guest's nested interpreters do not share a GIL, and none has a loop
  mutable std::mutex mutex_;
  std::vector<child> children_;  // Guarded by mutex_.
};

}  // namespace coppice::py
