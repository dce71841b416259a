// SPDX-License-Identifier: Apache-2.0
// Park and destroy: the end of one guest's interpreters, step by step.
#pragma once

#include <cstdint>
#include <vector>

#include "pyhost/guest_core.hpp"
#include "pyhost/inmates.hpp"
#include "pyhost/internals.hpp"

namespace coppice::py {

/// Ends the interpreter of a guest, and the nested ones that it made, whatever their threads are
/// doing. prototypes/park_and_destroy.cpp has the idea; what is added here is said at each step.
///
/// The reaper runs no Python source of a guest: from the moment of the mark every attempt to run a
/// Python function in the interpreter is refused (PEP 523), so neither __del__ nor a coroutine that
/// swallows GeneratorExit can hold it up. After an ordinary return finalizers do run, as in any
/// program, but before that, on the guest's own thread (end_modules.hpp): settle() makes sure that
/// it is alone.
///
/// Owner and thread: the reaper.
class demolition {
 public:
  /// `mine`: the reaper's thread state in the guest's interpreter, detached.
  demolition(guest_core& guest, PyThreadState* mine);

  /// The guest's own code is over, by itself, and its thread waits: parks all other threads for
  /// good, and ends the nested interpreters. Blocks and says on_stuck() as run() does.
  void settle();

  /// `interrupted`: its thread has returned, or is to be forced, but not by itself. Blocks until it
  /// is done, however long that takes; says on_stuck() at each bound it passes. True: the guest's
  /// thread was forced; it is on its way out.
  bool run(bool interrupted);

 private:
  struct annex {
    PyInterpreterState* interpreter;
    PyThreadState* mine;
  };

  void wait_for_nested_work();
  void mark();
  void mark_threads();
  void end_annexes();
  void mark_annexes();
  void silence();
  void park();
  void end(PyThreadState* ts);

  guest_core& guest_;
  PyThreadState* const mine_;
  bool interrupted_ = false;
  bool forced_ = false;
  std::vector<annex> annexes_;
  inmates inmates_;
};

/// Takes the GIL of `ts`, however long that takes; says on_stuck(native_code) at the guest's
/// gil_bound.
void attach_with_bound(guest_core& guest, PyThreadState* ts);

}  // namespace coppice::py
