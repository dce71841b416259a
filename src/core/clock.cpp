// SPDX-License-Identifier: Apache-2.0
#include "coppice/clock.hpp"

#include <new>

namespace coppice {

namespace {

class monotonic_clock final : public clock {
 public:
  time_point now() const noexcept override { return std::chrono::steady_clock::now(); }
  bool skip_to(time_point) noexcept override { return false; }
};

}  // namespace

clock& system_clock() noexcept {
  // Never destroyed: loops may be asked for the time while statics end.
  alignas(monotonic_clock) static unsigned char room[sizeof(monotonic_clock)];
  static clock* const one = ::new (static_cast<void*>(room)) monotonic_clock;
  return *one;
}

}  // namespace coppice
