// SPDX-License-Identifier: Apache-2.0
// What is different in a guest's interpreter: a handful of built-in functions, wrapped in C.
#pragma once

#include "pyhost/python.hpp"

namespace coppice::py {

class guest_core;

/// Puts our functions into the interpreter that the calling thread is attached to:
///
/// - `time.sleep`: on the guest's thread, wakes up for an interrupt.
/// - `os.posix_spawn`, `os.posix_spawnp`, `os.system`, `_posixsubprocess.fork_exec`: the process is
///   recorded and ends with the guest.
/// - `os.fork`, `os.forkpty`: refused like in the main interpreter, with what to use instead.
/// - `signal.pthread_sigmask`: kick and leave stay open.
/// - `sys._current_frames`, `sys._current_exceptions`: before 3.14.8 and 3.15.0 they walk the
///   frames of every interpreter without its GIL.
/// - `_thread._get_main_thread_ident`: `threading.main_thread()` is the guest's thread, so that
///   threads it starts are no daemons and are joined, as in a script.
/// - `_interpreters.create`, `destroy`, `decref`: nested interpreters are the guest's, and get
///   these functions too.
/// - `_imp.create_*`, `exec_*`: wrap modules when they come; say what to do when one refuses an own
///   GIL.
///
/// Modules that are not imported yet stay so: they are wrapped when they come, at no cost before.
/// `nested`: an interpreter that the guest made itself. False with an error set: no memory.
bool install_guest_hooks(guest_core& guest, bool nested) noexcept;

/// The same for the main interpreter: only sys._current_frames and its like. REQUIRES: attached to
/// it.
bool install_main_hooks() noexcept;

/// Process-wide: refuses os.fork and os.forkpty while guests live, naming forkserver. Later calls
/// do nothing. False: another audit hook refused it.
bool install_audit_hook() noexcept;

/// Py_FinalizeEx has taken it away.
void forget_audit_hook() noexcept;

}  // namespace coppice::py
