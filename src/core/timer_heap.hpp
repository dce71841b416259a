// SPDX-License-Identifier: Apache-2.0
// The timers of one loop, soonest first; those of one time in the order of arming.
#pragma once

#include <cstdint>
#include <vector>

#include "coppice/detail/task_node.hpp"

namespace coppice::core {

/// A heap with four children per node: flatter than a binary one, and a node's children share a
/// cache line or two. Each timer knows its place, so that disarming is O(log n).
///
/// Owner: a loop. Thread: its own.
class timer_heap {
 public:
  void arm(detail::timer& t, time_point when);
  void disarm(detail::timer& t) noexcept;

  bool empty() const noexcept { return heap_.empty(); }
  std::size_t size() const noexcept { return heap_.size(); }
  time_point next() const noexcept {
    return heap_.empty() ? time_point::max() : heap_.front().when;
  }

  /// Takes out the soonest timer that is due at `now`, or null.
  detail::timer* take_due(time_point now) noexcept;

 private:
  struct entry {
    time_point when;
    std::uint64_t order;
    detail::timer* owner;
    bool before(const entry& other) const noexcept {
      return when != other.when ? when < other.when : order < other.order;
    }
  };

  void place(std::size_t i, const entry& e) noexcept;
  void rise(std::size_t i, const entry& e) noexcept;
  void sink(std::size_t i, const entry& e) noexcept;
  void remove(std::size_t i) noexcept;

  std::vector<entry> heap_;
  std::uint64_t armed_so_far_ = 0;
};

}  // namespace coppice::core
