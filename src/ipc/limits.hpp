// SPDX-License-Identifier: Apache-2.0
// Every limit and bound of a connection, in one place.
#pragma once

#include <chrono>
#include <cstddef>

#include "coppice/clock.hpp"
#include "coppice/detail/msgpack.hpp"

namespace coppice::ipc {

struct limits {
  // One frame, length prefix excluded. Beyond: closed. Room for the largest payload that a call
  // table lets out (table_limits) and what is around it: too large a call must not cost the
  // connection.
  std::size_t frame_bytes_max = (256u << 20) + (1u << 20);
  std::size_t aid_bytes_max = 64u << 10;  // The same for the first frame of a stranger.
  int depth_max = msgpack::reader::depth_max_default;  // Nesting of a message around its payloads.
  // Written by us, not yet taken by the peer. Beyond: closed.
  std::size_t queued_bytes_max = 512u << 20;
  std::size_t handshakes_max = 64;  // Accepted, Aid still to come. Beyond: the oldest goes.
  // Looking up the host and reaching it, before the handshake.
  duration connect_within = std::chrono::seconds(10);
  // Both sides, from the connection to the peer's Aid.
  duration handshake_within = std::chrono::seconds(10);
  // From the first byte of a frame to its last, and a second more for each MiB of it.
  duration frame_within = std::chrono::seconds(30);
  // A peer that takes nothing of what is waiting for it, that does not answer a ping, or (tcp)
  // whose host answers nothing is dead after so long. In steps of a second on tcp.
  duration peer_silence_max = std::chrono::seconds(10);
};

}  // namespace coppice::ipc
