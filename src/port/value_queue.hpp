// SPDX-License-Identifier: Apache-2.0
// Values of a stream that have arrived and are not taken yet.
#pragma once

#include <cstddef>
#include <deque>
#include <utility>
#include <vector>

#include "base/assert.hpp"
#include "coppice/payload.hpp"

namespace coppice::port {

/// First in, first out, and whole runs in at once: a socket brings hundreds with one read.
///
/// # Why not `std::deque<payload>`?
/// It moves every value that comes in a run, and allocates for every twelve.
///
/// Owner: a dialog. Thread: one at a time.
class value_queue {
 public:
  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }

  void push(payload&& v) {
    if (runs_.empty() || runs_.back().size() == runs_.back().capacity()) {
      std::vector<payload> run;
      run.reserve(runs_.empty() ? run_min : run_max);
      runs_.push_back(std::move(run));
    }
    runs_.back().push_back(std::move(v));
    ++size_;
  }
  void push(std::vector<payload>&& run) {
    if (run.empty()) return;
    if (empty()) runs_.clear();
    size_ += run.size();
    runs_.push_back(std::move(run));
  }
  /// REQUIRES: not empty.
  payload pop() {
    payload v = std::move(runs_.front()[next_]);
    --size_;
    if (++next_ < runs_.front().size()) return v;
    next_ = 0;
    if (empty() && runs_.front().capacity() <= run_max)
      runs_.front().clear();  // For the next ones: values that come one by one allocate nothing.
    else
      runs_.pop_front();
    return v;
  }
  /// Takes the one out before which `nth` others lie. REQUIRES: nth < size().
  payload pop_at(std::size_t nth) {
    COPPICE_ASSERT(nth < size_, "there is such a value");
    if (nth == 0) return pop();
    nth += next_;
    auto run = runs_.begin();
    for (; nth >= run->size(); ++run) nth -= run->size();
    const auto at = run->begin() + static_cast<std::ptrdiff_t>(nth);
    payload v = std::move(*at);
    run->erase(at);
    --size_;
    if (run->empty()) runs_.erase(run);
    return v;
  }

 private:
  static constexpr std::size_t run_min = 4, run_max = 64;  // Of values that come one by one.

  std::deque<std::vector<payload>> runs_;  // None is empty, unless all is.
  std::size_t next_ = 0;                   // In the first.
  std::size_t size_ = 0;
};

}  // namespace coppice::port
