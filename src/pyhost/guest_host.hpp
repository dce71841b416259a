// SPDX-License-Identifier: Apache-2.0
// What all guests of this process share: signals, the watch, the count of forced stops, quarantine.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace coppice::py {

class embedding;
class host_core;  // guest_host.cpp; shared with guests, so that a reclaimed one finds it alive.

/// A guest that was abandoned and has not come back yet.
struct quarantine_entry {
  std::string name;
  std::chrono::nanoseconds age{};  // Since it was abandoned.
  std::string stuck_in;            // "native code that holds its GIL", …
};

struct host_counts {
  std::uint64_t started = 0;  // Guests whose interpreter came up.
  std::uint64_t live = 0;     // Interpreter, or a thread of it, still there; quarantined included.
  std::uint64_t forced = 0;   // Ended by park and destroy: each leaves 2 to 7 MB behind (own GIL).
  std::uint64_t quarantined = 0;
  std::uint64_t reclaimed = 0;
};

/// Does rung 3 (park and destroy) work with this CPython on this kernel?
struct force_verdict {
  enum class state : std::uint8_t { untested, works, broken } is = state::untested;
  std::string text;                 // broken: one sentence; works: empty.
  std::chrono::nanoseconds took{};  // The one forced stop of the test.
};

/// The process-wide half of hosting guests. One per embedding at a time; make it before the first
/// guest and let it end after the last.
///
/// Owns one thread, `coppice-pywatch`, which sleeps until a stop of a guest overruns a bound and
/// then says so to that guest's observer. It never attaches to an interpreter.
///
/// Everything here may be read from any thread without a GIL, at once.
///
/// Owner: the runtime. REQUIRES at its end: every guest_thread handle is gone. If guests are in
/// quarantine then, the kick and leave signals and the watch stay for the rest of the process.
class guest_host {
 public:
  explicit guest_host(embedding& python);  // Throws backend_unavailable (signals_rt.hpp).
  guest_host(const guest_host&) = delete;
  guest_host& operator=(const guest_host&) = delete;
  ~guest_host();

  std::vector<quarantine_entry> quarantined() const;
  host_counts counts() const noexcept;

  /// The last verdict; never blocks.
  force_verdict verdict() const;

  /// Forces one throw-away guest, the first time; later calls only read. The first force() of any
  /// guest does the same by itself. Blocks up to 5 s: not from a loop, not with a GIL held.
  force_verdict self_test();

  const std::shared_ptr<host_core>& core() const noexcept { return core_; }

 private:
  std::shared_ptr<host_core> core_;
};

}  // namespace coppice::py
