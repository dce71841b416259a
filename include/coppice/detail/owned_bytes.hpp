// SPDX-License-Identifier: Apache-2.0
// Bytes, and who keeps them.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

namespace coppice {

/// `bytes` stay valid and unchanged for as long as `owner` lives. Null: they are static.
struct owned_bytes {
  std::shared_ptr<const void> owner = {};  // Shared: the last holder may be any actor.
  std::span<const std::byte> bytes = {};
};

/// A large block that belongs into a run of bytes at `at` and was not copied there.
struct block_apart {
  std::size_t at = 0;
  owned_bytes block = {};
};

}  // namespace coppice
