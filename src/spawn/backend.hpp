// SPDX-License-Identifier: Apache-2.0
// The contract of a spawn backend: the page that the author of a new one reads.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/describe.hpp"
#include "base/unique_function.hpp"
#include "coppice/spawn.hpp"
#include "coppice/stop.hpp"
#include "coppice/warm.hpp"
#include "ipc/address.hpp"
#include "ipc/link.hpp"

namespace coppice::spawn {

/// What a backend can do. The same stands, with what people are told, in the one list of all keys
/// (spawn/methods.hpp), which selects by name, and a test compares the two. A new backend gets its
/// row there, its constant in coppice/spawn.hpp, and its place in tree::standard_backends().
struct capabilities {
  bool native = false;         // Children in C++.
  bool python = false;         // Children in Python.
  bool in_process = false;     // Shares this process: fast to start and call, shares its fate.
  bool can_be_killed = false;  // force() ends any child whatever it does.
};

/// What a backend found when it forced a throw-away child, which is the only proof.
struct force_test {
  bool works = false;
  std::string text;  // Why not: a sentence.
  duration took{};
};

/// What children that could not be ended well have left in this process.
struct leftovers {
  std::size_t forced = 0;       // Stopped by force: each left memory behind.
  std::size_t quarantined = 0;  // Abandoned, and not back yet.
};

/// Everything that a child is started with.
struct child_spec {
  msg::aid self;  // The child.
  msg::aid parent;
  msg::spawn_spec spec;  // Sent to the child after the handshake, by its supervisor.
  bool native = false;   // In C++: exposes the endpoints of this program.
  gil_mode gil = gil_mode::own;
  std::string cwd;  // Of a process; empty: ours.
  // Of a process: another program than ours, without the actor's own arguments; empty: ours.
  std::vector<std::string> program;
  // Of a process: "NAME=value", the whole of it; none: ours.
  std::optional<std::vector<std::string>> environment;
  std::shared_ptr<ipc::link_sink> parent_sink;  // A child in this process joins it by memory link.
  // A child in another process connects back to its parent: over this (none: the runtime's), there.
  std::optional<ipc::transport> transport;
  std::optional<ipc::address> parent_address;
};

/// What a child tells its supervisor. Any thread may call; nothing here blocks.
class child_observer {
 public:
  virtual ~child_observer() = default;
  /// It has ended: thread joined, interpreter destroyed, process reaped; nothing of it is left.
  /// Last, and exactly once, unless the child was abandoned and never comes back. `report.rung` and
  /// `.took` are the supervisor's to fill in.
  virtual void ended(exit_report report) = 0;
  /// What it waits in cannot be interrupted: the next rung is the first that can help.
  virtual void cannot_unwind() = 0;
  /// Its GIL could not be had: it is in native code, so only waiting or abandoning is left.
  virtual void in_native_code() = 0;
};

/// A started child. The supervisor owns it and calls it from the control loop; calls return at once
/// and what they lead to comes through the observer. Each rung may be asked for more than once.
class child {
 public:
  virtual ~child() = default;  // REQUIRES: ended() was told, or abandon() was called.

  /// Rung 2: make running code unwind. False: this backend has no such rung.
  virtual bool interrupt() = 0;
  /// Rung 3: nothing of the child runs again. False: no such rung here, or it is switched off.
  virtual bool force() = 0;
  /// Rung 4: give it up. It must keep itself alive until its code returns, and then call ended().
  virtual void abandon() = 0;
  /// Has the child's own code taken the request to end from its inbox? True where nobody can tell.
  virtual bool cancel_seen() const { return true; }
  /// "pid 4711", "thread 4712, interpreter 3".
  virtual std::string describe() const = 0;
};

/// What a backend is to have ready before anybody asks for it.
struct stock_order {
  warm_pool pool;
  std::vector<std::string> sys_path;  // Where `pool.preload` is found; empty: as usual.
  std::string main_script;            // Python's, that children run: compiled ahead; empty: none.
};

/// One way to start actors. Promises, each with a test in tests/conformance that runs on every one:
/// - start() returns at once; the child then connects back, or ended() is called.
/// - ended() is called exactly once, and then nothing of the child is left.
/// - A backend that cannot serve says so in refusal(), before anything is started.
class backend {
 public:
  virtual ~backend() = default;
  virtual std::string_view key() const = 0;
  virtual capabilities can() const = 0;
  /// Why it cannot serve such a child here and now: what is missing and what to do, in a sentence.
  virtual std::optional<std::string> refusal(const child_spec& spec) = 0;
  /// Of one whose force() depends on more than the kernel: what its self-test says, once it has
  /// been made. With `may_run` it is made now, which blocks for up to seconds: not on a loop's or a
  /// guest's thread, nor with a GIL held.
  virtual std::optional<force_test> forced_stops(bool /*may_run*/) { return std::nullopt; }
  /// Any thread.
  virtual leftovers left_behind() const { return {}; }
  /// Throws actor_start_error if the child cannot even be begun. `observer` outlives the child.
  virtual std::unique_ptr<child> start(const child_spec& spec,
                                       std::shared_ptr<child_observer> observer) = 0;
  /// The runtime ends: every child has ended or is abandoned. Bounded.
  virtual void shut_down() {}

  // --- a stock of children that are made before they are asked for, where there is such a thing
  /// Makes them, and waits for that, at most `fill_within`. Once. Throws backend_unavailable. Not
  /// on the control loop.
  virtual void stock_up(const stock_order&) {}
  /// The runtime ends: what is in stock is to end, beside the children. Does not block; shut_down()
  /// waits for it.
  virtual void clear_stock() noexcept {}
  virtual void describe_stock(base::tree_writer&) const {}  // Any thread.
  /// What of the stock is in quarantine: where its native code is, one text for each. Any thread.
  virtual std::vector<std::string> quarantined_stock() const { return {}; }
};

}  // namespace coppice::spawn
