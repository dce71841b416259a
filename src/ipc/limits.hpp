// SPDX-License-Identifier: Apache-2.0
// Every limit and bound of a connection, in one place.
#pragma once

#include <chrono>
#include <cstddef>

#include "coppice/clock.hpp"

namespace coppice::ipc {

struct limits {
  std::size_t frame_bytes_max = 256u << 20;   // One frame, length prefix excluded. Beyond: closed.
  std::size_t queued_bytes_max = 512u << 20;  // Written by us, not yet taken by the peer. Beyond: closed.
  std::size_t handshakes_max = 64;            // Accepted connections whose Aid is still to come.
  duration handshake_within = std::chrono::seconds(10);  // Both sides, from connect to the peer's Aid.
};

}  // namespace coppice::ipc
