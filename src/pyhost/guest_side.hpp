// SPDX-License-Identifier: Apache-2.0
// The guest's own view of its guest: calls that may be interrupted, one at a time and by number.
#pragma once

#include <cstdint>

#include "pyhost/python.hpp"

namespace coppice::py {

class guest_core;

/// What code on a guest's threads may ask of the host. One per guest; current() finds it. Thread:
/// attached to the guest's interpreter; begin_call() and end_call() on the guest's own thread.
class guest_side {
 public:
  explicit guest_side(guest_core& core) : core_(core) {}
  guest_side(const guest_side&) = delete;
  guest_side& operator=(const guest_side&) = delete;

  /// The guest of the interpreter that the calling thread is attached to; null: it is no guest (the
  /// main interpreter). By the capsule `coppice.guest` in PyInterpreterState_GetDict().
  static guest_side* current() noexcept;

  /// From here to end_call(n), interrupt(n) may strike this thread. Calls nest; only the innermost
  /// can be struck. n is not 0 and is never used twice in a guest. Nanoseconds.
  void begin_call(std::uint64_t n) noexcept;

  /// REQUIRES: n is the innermost call. An Interrupted that was sent but not yet raised is taken
  /// back: it can never surface in whatever runs next. One that has been raised is in
  /// PyErr_Occurred().
  void end_call(std::uint64_t n) noexcept;

  /// Rung 2 or 3 was asked of the whole guest: take no further work and return from run().
  bool stopping() const noexcept;

 private:
  guest_core& core_;
};

/// coppice.Interrupted of the current interpreter: a BaseException, neither SystemExit nor
/// KeyboardInterrupt. Made on first use, kept by the interpreter. For `_coppice` to export. Returns
/// a borrowed reference; null with an error set if memory is short. REQUIRES: attached.
PyObject* interrupted_type() noexcept;

}  // namespace coppice::py
