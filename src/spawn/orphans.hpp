// SPDX-License-Identifier: Apache-2.0
// What a run that crashed left behind: processes whose tree is dead, and socket files.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "coppice/time.hpp"

namespace coppice::spawn {

/// In the environment that a zygote is executed with: the pid of whoever executed it. What it forks
/// shows it still in /proc, whatever its environment became.
inline constexpr const char* zygote_variable = "COPPICE_ZYGOTE_OF";

/// A process of ours without a tree. The descriptor is of the process that was looked at: its pid
/// may be somebody else's by now, the descriptor cannot.
struct orphan {
  pid_t pid = -1;
  std::string name;   // Of its actor; "(zygote)" of one, and of what it forked.
  std::string why;    // "its parent, pid 4711, is gone"; "its parent is the orphan 4712".
  std::string shown;  // Its command line, cut.
  pid_t parent = 0;
  bool below = false;  // Its parent is an orphan, which ends it when it can.
  base::unique_fd pidfd;
};

/// Looks at the processes of this user. Sends nothing and touches nothing but the sockets at which
/// parents would listen: they see a connection that says nothing.
///
/// How an orphan is told, all of it having to hold:
/// - It runs as this user and in our pid namespace.
/// - It was executed as children are: `<program> --coppice-child --uid U --parent_addr A`,
/// `<python>
///   -P …/coppice/_child.py --uid U --parent_addr A`, `<python> -m tractor._child …` with A in our
///   runtime directory; or as a zygote is, `<python> -P …/coppice/_zygote.py …` with
///   zygote_variable in its environment; what it forks looks the same.
/// - A unix address names the parent's pid, and that is not its parent (any more). Of a tcp
///   address: its parent has no Coppice in it. Of a zygote: its owner is gone, and its parent is no
///   zygote of the same owner.
/// - Nobody listens at the address: the file is not there, or the connection is refused.
///
/// So a child of a living tree is never taken for one: its parent is what it was started by. What
/// is unclear is left alone, like a tcp port that somebody else has now.
std::vector<orphan> find_orphans();

/// Was the process that has `pid` now started before `than`, or in the same tick? If not, it is not
/// what had that pid when `than` began. False too if one of them is gone, or the
/// first is a zombie.
bool is_older(pid_t pid, pid_t than);

enum class reaped : std::uint8_t {
  asked,   // It ended within the bound for SIGTERM; also if it did so by itself.
  killed,  // SIGKILL.
  stays,   // Not ours to signal, or in uninterruptible sleep in the kernel.
};

struct reap_bounds {
  duration ask = std::chrono::seconds(2);   // SIGTERM, for an actor to end what is below it.
  duration kill = std::chrono::seconds(2);  // SIGKILL.
};

/// Ends them: SIGTERM to those that are not below others, after `ask` SIGKILL to all. One outcome
/// per orphan, in their order. Blocks for at most both bounds. What it does not end has to be asked
/// for again: the end of an orphan may make orphans of its children.
std::vector<reaped> end_orphans(const std::vector<orphan>& them, const reap_bounds& bounds = {});

}  // namespace coppice::spawn
