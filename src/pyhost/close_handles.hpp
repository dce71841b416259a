// SPDX-License-Identifier: Apache-2.0
// Files and sockets of an interpreter whose threads are parked: closed before their owners are torn
// down.
#pragma once

#include "pyhost/python.hpp"

namespace coppice::py {

/// Closes the files, sockets, epoll objects and memory maps of the interpreter that the calling
/// thread is attached to, by CPython's own C methods. What stands in a buffer is flushed first,
/// unless `forced` (it may block) or a parked thread is in the middle of it. Without `forced`,
/// stdin, stdout and stderr stay usable.
///
/// Why, since the interpreter's end would close them: (1) what a parked thread's frames refer to is
/// never freed, so its fds would stay open for ever; (2) a parked thread may hold the lock of a
/// buffered file, and CPython ends the *process* ("could not acquire lock for <_io.BufferedWriter
/// …> at interpreter shutdown") when the interpreter's end wants to flush that file. Over a closed
/// raw file nothing is flushed and no lock is taken. (3) An exception that was raised from outside,
/// at any instruction, may have left a reference behind that nobody drops.
///
/// Not found: what a garbage collection, in the middle of which a thread was parked, had set aside
/// (but for epoll objects); a map that somebody has a memoryview of; descriptors that are numbers;
/// os.scandir() iterators and connections of sqlite3 that only frames hold.
///
/// REQUIRES: attached; every other thread of the interpreter is parked.
void close_handles(bool forced) noexcept;

/// The objects that close_handles() would close, as a new list; null: no memory. While it lives, no
/// garbage collection can set them aside. REQUIRES: attached, no error set.
PyObject* list_handles() noexcept;

}  // namespace coppice::py
