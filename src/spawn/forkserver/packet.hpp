// SPDX-License-Identifier: Apache-2.0
// What runtimes and their zygote send each other: packets, each with at most one descriptor.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.hpp"

namespace coppice::spawn {

/// The two ends of a connection: AF_UNIX, SOCK_SEQPACKET, non-blocking, close-on-exec. Throws
/// std::system_error when the process is out of descriptors.
std::pair<base::unique_fd, base::unique_fd> packet_pair();

inline constexpr std::size_t packet_bytes_max = 16 * 1024;

struct packet {
  std::vector<std::byte> bytes;
  base::unique_fd fd;  // Close-on-exec. None: -1.
};

enum class packet_outcome : unsigned char {
  done,
  later,   // Nothing is there, or no room is.
  closed,  // The other side has gone.
};

/// Never block. `p.fd` stays the sender's. A packet that cannot be sent for any other reason counts
/// as closed: what follows it would not be understood.
packet_outcome send_packet(int socket, const packet& p);
packet_outcome receive_packet(int socket, packet& into);

/// Bytes of any length as a descriptor (memfd_create), and back: what is too large for a packet.
/// Throw std::system_error.
base::unique_fd in_memory(const std::vector<std::byte>& bytes);
std::vector<std::byte> from_memory(int fd);

}  // namespace coppice::spawn
