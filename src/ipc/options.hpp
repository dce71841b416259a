// SPDX-License-Identifier: Apache-2.0
// What a process lets its connections do: whom they may come from, and over what.
#pragma once

#include <cstdint>

#include "ipc/tls.hpp"

namespace coppice::ipc {

enum class permission : std::uint8_t { refuse, allow };

struct transport_options {
  tls_context_ptr tls = nullptr;  // All tcp goes through it; null: plain.
  /// tcp without TLS to or from other hosts: whoever can reach the port can call, and read along.
  permission insecure_tcp = permission::refuse;
  /// Peers on unix sockets that run as another user (root always may).
  permission other_users = permission::refuse;
};

}  // namespace coppice::ipc
