// SPDX-License-Identifier: Apache-2.0
// The one thing that other threads do to a reactor; declared here to keep Asio out of the inbox.
#pragma once

namespace coppice::core {

class reactor;

/// Makes a reactor that waits return. Any thread.
void wake_reactor(reactor& r) noexcept;

}  // namespace coppice::core
