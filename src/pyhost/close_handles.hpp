// SPDX-License-Identifier: Apache-2.0
// Files and sockets of an interpreter whose threads are parked: closed before their owners are torn
// down.
#pragma once

namespace coppice::py {

enum class close_which {
  all,   // Forced: nothing is flushed, nothing of the guest runs again.
  held,  // Ordinary end beside parked threads: only raw files under a buffer that a parked thread
         // holds.
};

/// Closes raw files, sockets and epoll objects of the interpreter that the calling thread is
/// attached to, by CPython's own C methods.
///
/// Why, since the interpreter's end would close them: (1) what a parked thread's frames refer to is
/// never freed, so its fds would stay open for ever; (2) a parked thread may hold the lock of a
/// buffered file, and CPython ends the *process* ("could not acquire lock for <_io.BufferedWriter
/// …> at interpreter shutdown") when the interpreter's end wants to flush that file. Over a closed
/// raw file nothing is flushed and no lock is taken.
///
/// REQUIRES: attached; every other thread of the interpreter is parked.
void close_handles(close_which which) noexcept;

}  // namespace coppice::py
