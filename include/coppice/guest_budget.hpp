// SPDX-License-Identifier: Apache-2.0
// How many guests that could not be ended well one process bears.
#pragma once

#include <cstddef>
#include <cstdint>

namespace coppice {

/// Of each stop of a guest by force something is left in its process: 1.7 MB of the dead frames'
/// objects for a bare guest with its own GIL, up to 7 MB with asyncio, 5 kB with the shared one
/// (docs/stopping.md). A guest in quarantine costs a thread, its memory, and what its native code
/// holds, until that returns. At either bound the next start of a `subint` actor is treated by
/// `then`; what runs already goes on.
struct guest_budget {
  enum class policy : std::uint8_t {
    refuse,         // backend_unavailable, which says what the process has come to.
    other_process,  // It is started by `subint_forkserver` instead: a guest of a fresh process.
    end,            // The root is cancelled, as by SIGTERM, and the start refused.
  };

  std::size_t forced_max = 256;      // Forced stops since the runtime was opened.
  std::size_t quarantined_max = 16;  // Guests in quarantine at this moment.
  policy then = policy::refuse;
};

}  // namespace coppice
