// SPDX-License-Identifier: Apache-2.0
#include "coppice/payload.hpp"

#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#include "base/assert.hpp"
#include "coppice/detail/msgpack_writer.hpp"

namespace coppice {

/// What a payload with blocks owns.
struct payload::with_blocks {
  std::shared_ptr<const void> owner;  // Of bytes_.
  std::vector<block_apart> blocks;
  std::size_t size = 0;  // Of all blocks.

  static payload make(std::shared_ptr<const void> owner, std::span<const std::byte> bytes,
                      std::vector<block_apart> blocks) {
    std::size_t size = 0;
    for (const block_apart& b : blocks) size += b.block.bytes.size();
    auto kept =
        std::make_shared<const with_blocks>(with_blocks{std::move(owner), std::move(blocks), size});
    const with_blocks* const apart = kept.get();
    payload made(std::move(kept), bytes);
    made.apart_ = apart;
    return made;
  }
};

payload payload::copy_of(std::span<const std::byte> bytes) {
  auto block = std::make_shared_for_overwrite<std::byte[]>(bytes.size());
  if (!bytes.empty()) std::memcpy(block.get(), bytes.data(), bytes.size());
  const std::byte* data = block.get();
  return payload(std::move(block), {data, bytes.size()});
}

payload payload::take(msgpack::buffer&& from) {
  msgpack::buffer taken = std::move(from);
  const auto bytes = taken.bytes();
  if (taken.apart_) [[unlikely]]
    return with_blocks::make(std::move(taken.block_), bytes, std::move(*taken.apart_));
  return payload(std::move(taken.block_), bytes);
}

std::span<const block_apart> payload::blocks() const noexcept {
  return apart_ != nullptr ? std::span(apart_->blocks) : std::span<const block_apart>();
}

std::size_t payload::blocks_size() const noexcept { return apart_->size; }

payload payload::flat() const {
  if (!has_blocks()) return *this;
  msgpack::buffer all(size());
  msgpack::writer(all).raw(*this);
  return take(std::move(all));
}

bool payload::equal_flat(const payload& a, const payload& b) {
  return a.size() == b.size() && std::ranges::equal(a.flat().bytes_, b.flat().bytes_);
}

void payload::check_inside(std::span<const std::byte> part) const {
  const std::less_equal<const std::byte*> not_after;
  COPPICE_ASSERT(not_after(bytes_.data(), part.data()) &&
                     not_after(part.data() + part.size(), bytes_.data() + bytes_.size()),
                 "a slice must lie inside its payload");
}

payload payload::slice(std::span<const std::byte> part) const& {
  check_inside(part);
  if (has_blocks()) [[unlikely]]
    return slice_with_blocks(part);
  return payload(owner_, part);
}

payload payload::slice(std::span<const std::byte> part) && {
  check_inside(part);
  if (has_blocks()) [[unlikely]]
    return payload(std::move(*this)).slice_with_blocks(part);
  bytes_ = {&nil_byte, 1};
  return payload(std::move(owner_), part);
}

payload payload::slice_with_blocks(std::span<const std::byte> part) const {
  const auto from = static_cast<std::size_t>(part.data() - bytes_.data());
  std::vector<block_apart> inside;
  for (const block_apart& b : apart_->blocks) {
    // A block belongs to the header before it: one at `from` ends the value before this part.
    if (b.at > from && b.at <= from + part.size()) inside.push_back({b.at - from, b.block});
  }
  if (inside.empty()) return payload(apart_->owner, part);
  return with_blocks::make(apart_->owner, part, std::move(inside));
}

}  // namespace coppice
