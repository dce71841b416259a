// SPDX-License-Identifier: Apache-2.0
// Where a guest waits, without its GIL, for what it is to become.
#pragma once

#include <atomic>
#include <cstdint>

namespace coppice::py {

class guest_side;

/// A place for one guest's thread. It leaves when somebody opens the gate, or when the guest is to
/// stop; one that is forced never comes back from here, as from any wait without a GIL.
///
/// # Why not guest_port::wait()?
/// A port belongs to an actor, whose name and uuid it bears: there is none yet.
///
/// Owner: a guest's body, or what it shares; outlives the wait. Thread: as each member says.
class parking {
 public:
  parking() = default;
  parking(const parking&) = delete;
  parking& operator=(const parking&) = delete;

  /// Until open(). False: the guest is to stop. Thread: the guest's own, attached.
  bool wait(const guest_side& side) noexcept;

  /// Any thread, no GIL, does not block. Once.
  void open() noexcept;
  /// The waiting thread is to look whether its guest stops. Likewise.
  void nudge() noexcept;

 private:
  void change(std::uint32_t by) noexcept;
  static constexpr std::uint32_t opened = 1;  // Every nudge adds 2.
  std::atomic<std::uint32_t> word_{0};        // A futex.
};

}  // namespace coppice::py
