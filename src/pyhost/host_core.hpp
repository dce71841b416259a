// SPDX-License-Identifier: Apache-2.0
// The inside of guest_host, kept alive by every guest that still exists.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "pyhost/guest_host.hpp"
#include "pyhost/signals_rt.hpp"
#include "pyhost/watch.hpp"

namespace coppice::py {

class guest_core;

/// Shared by the guests and their reapers: a reclaimed guest may outlive the guest_host it was made
/// by. Thread: any; no GIL.
class host_core : public std::enable_shared_from_this<host_core> {
 public:
  signals_rt signals;
  watch timers;

  std::atomic<std::uint64_t> started{0}, live{0}, forced{0}, reclaimed{0};

  void enter_quarantine(const guest_core& guest, std::string name, std::string where);
  void leave_quarantine(const guest_core& guest);
  std::vector<quarantine_entry> quarantined() const;
  std::uint64_t quarantined_count() const noexcept;

  force_verdict verdict() const;

  /// The first caller runs the test, others wait for it. Not from a guest's thread.
  force_verdict self_test();

 private:
  struct patient {
    const guest_core* guest;  // Only compared.
    std::string name, where;
    std::chrono::steady_clock::time_point since;
  };
  // tidy: allow lock: read and written by reapers, which have no loop
  mutable std::mutex mutex_;
  std::vector<patient> quarantine_;  // Guarded by mutex_.
  force_verdict verdict_;            // Guarded by mutex_.
  // tidy: allow lock: reapers that need the verdict wait for the one that gets it
  std::mutex test_mutex_;  // Held during the one self-test.
};

/// Guests in this process whose interpreter exists, quarantined ones included: what forbids os.fork
/// and Py_FinalizeEx. Process-wide, because CPython's audit hooks are.
std::atomic<unsigned>& live_interpreters() noexcept;

}  // namespace coppice::py
