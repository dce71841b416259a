// SPDX-License-Identifier: Apache-2.0
// What we rely on of CPython's inside, in one place: checked per minor version and by the
// self-test.
#pragma once

#include "pyhost/python.hpp"

extern "C" {
// Exported, though not declared in the public headers of 3.14 and 3.15.
PyAPI_FUNC(PyInterpreterState*) _PyInterpreterState_LookUpID(int64_t);
PyAPI_FUNC(void) _PyEval_FrameClearAndPop(PyThreadState*, struct _PyInterpreterFrame*);
}

namespace coppice::py {

/// PyThreadState::state of a thread that may never attach again (internal/pycore_pystate.h).
inline constexpr int thread_shutting_down = 3;

/// PyThreadState::_whence of a thread that `threading` started (cpython/pystate.h). 3.15 tells
/// daemons apart and waits at an interpreter's end for all others; 3.14 has no value 6.
inline constexpr int whence_threading = 3;
inline constexpr int whence_daemon = 6;

/// The mark of step one of "park": REQUIRES the GIL of the thread state's interpreter, which means
/// that `ts` is detached. Written while it is attached, the mark would be lost: detaching
/// overwrites it.
inline void mark_shutting_down(PyThreadState* ts) noexcept {
  __atomic_store_n(&ts->state, thread_shutting_down, __ATOMIC_SEQ_CST);
}

/// Is an asynchronous exception waiting to be raised in `ts`? REQUIRES the GIL.
inline bool async_exception_pending(PyThreadState* ts) noexcept {
  return __atomic_load_n(&ts->async_exc, __ATOMIC_RELAXED) != nullptr;
}

}  // namespace coppice::py
