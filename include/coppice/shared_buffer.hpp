// SPDX-License-Identifier: Apache-2.0
// A large block of bytes that actors of one process share.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "coppice/detail/codec.hpp"
#include "coppice/detail/owned_bytes.hpp"

namespace coppice {

/// Immutable bytes with a reference count. It travels as bin, like `std::vector<std::byte>` and
/// Python's bytes, but from 64 KiB on it is not copied on its way between actors of one process,
/// wherever in an argument, a result or a value of a stream it stands.
///
///     shared_buffer image(std::move(pixels));
///     co_await portal.run(filter_e, image);   // No copy; neither there: it refers to our bytes.
///
/// Of one that did come through a socket, the receiver's keeps the frame it came in. In Python it
/// arrives as coppice.Buffer where it was not copied, else as bytes.
///
/// # Why not `std::vector<std::byte>`?
/// Somebody has to own it: it would be copied into the message, and out of it.
///
/// Owner: every copy is one; a copy costs a reference count. Thread: any.
class shared_buffer {
 public:
  shared_buffer() = default;
  /// Takes them, without a copy.
  explicit shared_buffer(std::vector<std::byte> bytes) {
    auto kept = std::make_shared<const std::vector<std::byte>>(std::move(bytes));
    owned_.bytes = *kept;
    owned_.owner = std::move(kept);
  }
  /// Bytes of any kind, a mapped file's for example, that stay valid and unchanged for as long as
  /// `owner` lives. Null: they are static.
  shared_buffer(std::shared_ptr<const void> owner, std::span<const std::byte> bytes)
      : owned_{std::move(owner), bytes} {}
  static shared_buffer copy_of(std::span<const std::byte> bytes) {
    return shared_buffer(std::vector<std::byte>(bytes.begin(), bytes.end()));
  }

  std::span<const std::byte> bytes() const noexcept { return owned_.bytes; }
  const std::byte* data() const noexcept { return owned_.bytes.data(); }
  std::size_t size() const noexcept { return owned_.bytes.size(); }
  bool empty() const noexcept { return owned_.bytes.empty(); }
  const owned_bytes& owned() const noexcept { return owned_; }  // Once more, with who keeps them.

  friend bool operator==(const shared_buffer& a, const shared_buffer& b) {
    return std::ranges::equal(a.bytes(), b.bytes());
  }

 private:
  owned_bytes owned_;
};

template <>
struct codec<shared_buffer> {
  static void encode(msgpack::writer& w, const shared_buffer& v) { w.bin(v.owned()); }
  static shared_buffer decode(msgpack::reader& r) {
    owned_bytes got = r.owned_bin();
    return shared_buffer(std::move(got.owner), got.bytes);
  }
};

}  // namespace coppice
