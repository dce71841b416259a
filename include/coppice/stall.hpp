// SPDX-License-Identifier: Apache-2.0
// Stalls: a task keeps its loop for itself, and nothing else on it moves.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "coppice/clock.hpp"

namespace coppice {

/// A task had a loop for longer than stall_options::after, and had it still when we looked.
struct stall_report {
  std::string loop = {};
  std::string task = {};  // "'name'", the function of an unnamed one, or that it is no task. Empty:
                          // it returned while we looked.
  duration at_least{};    // It may go on.
  std::vector<std::string> stack =
      {};                    // Of the loop's thread, innermost first. Empty: not to be had.
  std::size_t left_out = 0;  // Stalls of this loop since its last report that were not told.

  std::string to_text() const;  // One line, and one per frame of the stack.
};

/// How a runtime looks for tasks that keep their loop: those that compute, block or lock where they
/// should await.
///
/// Promises:
/// - One report per stall, at the latest one and a half times `after` after it began if the machine
///   keeps up; of one loop at most one per `every`, the others are counted.
/// - One thread for all loops of a runtime (`coppice-stalls`), none while `after` is zero.
/// - A loop that does not stall pays a few stores per turn. Time in which the whole process stood
///   still (SIGSTOP, a suspended machine) is no stall.
/// - For the stack the thread is interrupted by a real-time signal, the highest that is at its
///   default: a system call that it is blocked in is restarted, but for those that never are (poll,
///   nanosleep: EINTR). `stacks = false` sends none. It needs a stack unwinder without locks:
///   glibc 2.35 and libgcc 12.
///
/// `handler` runs on the watching thread and should be quick: meanwhile nobody looks. Throwing from
/// it ends the process.
struct stall_options {
  duration after = std::chrono::milliseconds(100);  // Zero: do not look.
  duration every = std::chrono::seconds(10);
  bool stacks = true;
  std::function<void(const stall_report&)> handler = {};  // Empty: the text, to stderr.
};

}  // namespace coppice
