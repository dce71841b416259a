// SPDX-License-Identifier: Apache-2.0
#include "base/spin_wait.hpp"

#include <sched.h>
#include <unistd.h>

#include <algorithm>

namespace coppice::base {

namespace {

// How many threads of this process work and how many look, in one word: they are read together.
constexpr std::uint64_t works = 1, looks_on = std::uint64_t{1} << 32;
std::atomic<std::uint64_t> threads{0};

unsigned processors() noexcept {
  // Of the machine: which of them a thread may use can change, and called() sees it. Not a function
  // static: its guard would be one more thing for a thread that never comes back to hold.
  static std::atomic<unsigned> known{0};
  unsigned n = known.load(std::memory_order_relaxed);
  if (n == 0) {
    n = static_cast<unsigned>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
    known.store(n, std::memory_order_relaxed);
  }
  return n;
}

bool fits(std::uint64_t counted) noexcept {
  return (counted & 0xffff'ffff) + (counted >> 32) <= processors();
}

}  // namespace

int spin_wait::this_processor() noexcept { return ::sched_getcpu(); }

bool spin_wait::is_crowded() noexcept { return !fits(threads.load(std::memory_order_relaxed)); }

void spin_wait::relax() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");
#endif
}

void spin_wait::set(std::uint64_t counted_as) noexcept {
  if (counted_as == counted_as_) return;
  threads.fetch_add(counted_as - counted_as_, std::memory_order_relaxed);
  counted_as_ = counted_as;
}

bool spin_wait::pays() const noexcept {
  if (!was_short_ || processors() < 2) return false;
  const int caller = caller_.load(std::memory_order_relaxed);
  if (caller < 0 || caller == this_processor()) return false;
  return fits(threads.load(std::memory_order_relaxed) - counted_as_ + looks_on);
}

void spin_wait::begin() noexcept { set(looks_on); }

bool spin_wait::end(bool found) noexcept {
  ++looks_;
  if (found) {
    pause_ = 0;
    set(works);
  } else {
    pause_ = std::clamp(2 * pause_, 1U, pause_max);
    pause_left_ = pause_;
    set(0);
  }
  return found;
}

void spin_wait::falls_asleep() noexcept {
  set(0);
  asleep_ = true;
  asleep_since_ = clock::now();
}

void spin_wait::wakes_up() noexcept {
  if (!asleep_) return;
  asleep_ = false;
  was_short_ = clock::now() - asleep_since_ <= short_max;
  set(works);
}

void spin_wait::stops() noexcept {
  set(0);
  asleep_ = was_short_ = false;
}

}  // namespace coppice::base
