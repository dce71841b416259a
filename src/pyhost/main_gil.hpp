// SPDX-License-Identifier: Apache-2.0
// A guest that needs the main interpreter's GIL for a moment gets it, however busy that one is.
#pragma once

#include <atomic>

namespace coppice::py {

/// While a guest creates its interpreter or an extension module, CPython takes the main
/// interpreter's GIL over and over (`switch_to_main_interpreter`, Python/import.c). An event loop
/// on the main thread that lets go of its GIL every millisecond takes it back before a waiter on
/// another core has woken up, and never meets the 5 ms after which CPython would force it: a start
/// then takes seconds. So the main thread is asked, by a pending call, to stand aside: until nobody
/// wants the GIL, 20 ms at most for each request.
///
/// Nothing happens if the main thread runs no Python. One that is in C code and keeps the GIL
/// cannot be asked.
///
/// Owner: guest_core. Thread: any; no GIL is needed.
class main_gil_wish {
 public:
  main_gil_wish() = default;
  main_gil_wish(const main_gil_wish&) = delete;
  ~main_gil_wish() { withdraw(); }

  void begin() noexcept;
  bool ask_again() noexcept;  // False: it is not wanted any more.
  void end() noexcept;
  void withdraw() noexcept;  // Ends all: threads that began were parked in the middle.

 private:
  std::atomic<int> open_{0};
};

/// One begin() and its end().
class wishing_main_gil {
 public:
  explicit wishing_main_gil(main_gil_wish& w) noexcept : wish_(w) { wish_.begin(); }
  wishing_main_gil(const wishing_main_gil&) = delete;
  ~wishing_main_gil() { wish_.end(); }

 private:
  main_gil_wish& wish_;
};

}  // namespace coppice::py
