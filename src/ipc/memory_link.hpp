// SPDX-License-Identifier: Apache-2.0
// Memory transport: two actors of one process, joined without a socket.
#pragma once

#include <memory>

#include "ipc/link.hpp"

namespace coppice::ipc {

/// Joins two actors of this process. Each sink gets on_connected() with its own end, `b` first (it
/// is the listener: by the time that `a` can send, `b` knows the link), then messages exactly as
/// from a socket, on the sender's thread. Payload bytes are shared, nothing is encoded.
///
/// The sinks are kept until the link closes, then dropped: a link never keeps a dead actor alive.
void connect_memory(const msg::aid& a, std::shared_ptr<link_sink> a_sink,  //
                    const msg::aid& b, std::shared_ptr<link_sink> b_sink);

}  // namespace coppice::ipc
