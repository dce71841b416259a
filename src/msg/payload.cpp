// SPDX-License-Identifier: Apache-2.0
#include "coppice/payload.hpp"

#include <cstring>
#include <functional>
#include <utility>

#include "base/assert.hpp"

namespace coppice {

payload payload::copy_of(std::span<const std::byte> bytes) {
  auto block = std::make_shared_for_overwrite<std::byte[]>(bytes.size());
  if (!bytes.empty()) std::memcpy(block.get(), bytes.data(), bytes.size());
  const std::byte* data = block.get();
  return payload(std::move(block), {data, bytes.size()});
}

payload payload::take(msgpack::buffer&& from) {
  msgpack::buffer taken = std::move(from);
  const auto bytes = taken.bytes();
  return payload(std::move(taken.block_), bytes);
}

void payload::check_inside(std::span<const std::byte> part) const {
  const std::less_equal<const std::byte*> not_after;
  COPPICE_ASSERT(not_after(bytes_.data(), part.data()) &&
                     not_after(part.data() + part.size(), bytes_.data() + bytes_.size()),
                 "a slice must lie inside its payload");
}

payload payload::slice(std::span<const std::byte> part) const& {
  check_inside(part);
  return payload(owner_, part);
}

payload payload::slice(std::span<const std::byte> part) && {
  check_inside(part);
  bytes_ = {&nil_byte, 1};
  return payload(std::move(owner_), part);
}

}  // namespace coppice
