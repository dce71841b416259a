// SPDX-License-Identifier: Apache-2.0
// Is this process a fork of the one that we run in? Then none of what we run is in it.
#pragma once

namespace coppice::base {

/// From the first call on, fork() is watched (pthread_atfork; exec and our own clone() are not
/// concerned). Any thread.
void watch_for_forks();

/// True in the child of a fork() since watch_for_forks(), and in its children. Such a copy has the
/// forking thread alone, and shares sockets and epoll sets with the original: it must leave them
/// alone, and end by _exit(). Any thread; costs a load.
bool is_forked_copy() noexcept;

}  // namespace coppice::base
