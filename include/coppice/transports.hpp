// SPDX-License-Identifier: Apache-2.0
// How actors of different processes reach each other, and whom they talk to.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "coppice/clock.hpp"

namespace coppice {

enum class permission : std::uint8_t { refuse, allow };

/// Certificates of tcp, as PEM files. Both sides show one and look at the other's: who connects
/// looks for the host's name in it, who listens wants one that `ca_file` has signed.
struct tls_files {
  std::string certificate_file = {};
  std::string key_file = {};
  std::string ca_file = {};  // Empty: no TLS.
};

/// Of a process. Its children in other processes have the defaults, and connect over loopback
/// without TLS. Beside `tls` leave them on unix sockets: a child on tcp listens without it, too,
/// and who has certificates does not find such a child by name.
///
///     main_options o;
///     o.transports.enable = {"tcp"};
///     o.transports.tls = {.certificate_file = "me.pem", .key_file = "me.key",
///                         .ca_file = "ca.pem"};
struct transport_settings {
  std::vector<std::string> enable = {};  // "uds" (none), or "tcp": how children reach their parent.
  /// A peer that takes nothing of what waits for it, answers no ping, or whose host answers nothing
  /// is dead after so long.
  duration peer_silence_max = std::chrono::seconds(10);
  /// tcp without TLS to or from other hosts: whoever can reach the port can call, and read along.
  permission insecure_tcp = permission::refuse;
  /// Peers on unix sockets that run as another user (root always may).
  permission other_users = permission::refuse;
  tls_files tls = {};
};

}  // namespace coppice
