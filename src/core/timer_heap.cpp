// SPDX-License-Identifier: Apache-2.0
#include "core/timer_heap.hpp"

#include <algorithm>

namespace coppice::core {

namespace {
constexpr std::size_t arity = 4;
}  // namespace

void timer_heap::place(std::size_t i, const entry& e) noexcept {
  heap_[i] = e;
  e.owner->index = i;
}

void timer_heap::rise(std::size_t i, const entry& e) noexcept {
  while (i != 0) {
    const std::size_t up = (i - 1) / arity;
    if (!e.before(heap_[up])) break;
    place(i, heap_[up]);
    i = up;
  }
  place(i, e);
}

void timer_heap::sink(std::size_t i, const entry& e) noexcept {
  for (;;) {
    const std::size_t first = i * arity + 1;
    if (first >= heap_.size()) break;
    std::size_t least = first;
    const std::size_t end = std::min(first + arity, heap_.size());
    for (std::size_t c = first + 1; c < end; ++c) {
      if (heap_[c].before(heap_[least])) least = c;
    }
    if (!heap_[least].before(e)) break;
    place(i, heap_[least]);
    i = least;
  }
  place(i, e);
}

void timer_heap::arm(detail::timer& t, time_point when) {
  if (t.armed()) remove(t.index);
  const entry e{when, ++armed_so_far_, &t};
  heap_.push_back(e);
  rise(heap_.size() - 1, e);
}

void timer_heap::disarm(detail::timer& t) noexcept {
  if (t.armed()) remove(t.index);
}

void timer_heap::remove(std::size_t i) noexcept {
  heap_[i].owner->index = detail::timer::npos;
  const entry last = heap_.back();
  heap_.pop_back();
  if (i == heap_.size()) return;
  if (i != 0 && last.before(heap_[(i - 1) / arity])) {
    rise(i, last);
  } else {
    sink(i, last);
  }
}

detail::timer* timer_heap::take_due(time_point now) noexcept {
  if (heap_.empty() || heap_.front().when > now) return nullptr;
  detail::timer* t = heap_.front().owner;
  remove(0);
  return t;
}

}  // namespace coppice::core
