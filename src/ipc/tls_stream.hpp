// SPDX-License-Identifier: Apache-2.0
// The stream of a link over TLS.
#pragma once

#include <memory>

#include "ipc/sockets.hpp"
#include "ipc/stream.hpp"
#include "ipc/tls.hpp"

namespace coppice::ipc {

/// Carries a session's bytes over a connected socket. The handshake of TLS is part of the first
/// read: until then nothing can be written.
stream_ptr make_tls_stream(socket connected, std::unique_ptr<tls_session> session);

}  // namespace coppice::ipc
