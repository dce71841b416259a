// SPDX-License-Identifier: Apache-2.0
// Where another thread of this process is right now, as return addresses.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <vector>

namespace coppice::base {

/// The native stack of thread `tid`, innermost frame first; at most 64 frames. Empty if the thread
/// did not answer within the bound (it blocks all signals, or sits in the kernel uninterruptibly)
/// or if no signal is free.
///
/// How: a real-time signal, the highest that is at its default disposition when this is first
/// called, whose handler unwinds with backtrace(3) into a static buffer. The handler stays
/// installed for the life of the process: the default action of one that comes late would end it.
/// It allocates nothing and takes no lock where libgcc finds unwind tables without one (libgcc 12
/// with glibc 2.35, and later); names are looked up by the caller, see base/symbol.hpp.
///
/// The thread notices: a system call that it is blocked in is restarted, but for those that never
/// are (poll, nanosleep, signal(7)), which return EINTR.
///
/// # Why not without a signal?
/// Registers of a running thread are to be had by ptrace only, which does not work within a
/// process.
///
/// REQUIRES: `tid` is a thread of this process that does not end meanwhile. Thread: any but `tid`;
/// callers wait for each other.
std::vector<const void*> stack_of(pid_t tid, std::chrono::milliseconds bound);

}  // namespace coppice::base
