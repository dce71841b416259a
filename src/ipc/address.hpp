// SPDX-License-Identifier: Apache-2.0
// Where an actor listens.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "msg/messages.hpp"

namespace coppice::ipc {

enum class transport : std::uint8_t { uds, tcp };
std::string_view name_of(transport t) noexcept;  // "uds", "tcp": tractor's names.
/// The inverse. Throws coppice::error with the names that there are.
transport parse_transport(std::string_view name);

/// A unix socket, or a tcp port of a host. A value; on the wire `[directory, file]` or
/// `[host, port]`.
///
///     address at = address::tcp("127.0.0.1", 1616);
///     at.text()       "('127.0.0.1', 1616)"        on command lines
///     at.multiaddr()  "/ip4/127.0.0.1/tcp/1616"    in configurations
///     at.describe()   "127.0.0.1:1616"             in sentences
///
/// A host is an IPv4 or IPv6 address without brackets, or a name.
class address {
 public:
  address() = default;  // Nowhere: empty().
  address(msg::wire_address where) noexcept : where_(std::move(where)) {}
  static address uds(std::string directory, std::string file);
  static address tcp(std::string host, std::uint16_t port);

  const msg::wire_address& wire() const noexcept { return where_; }
  const msg::uds_address* as_uds() const noexcept { return std::get_if<msg::uds_address>(&where_); }
  const msg::tcp_address* as_tcp() const noexcept { return std::get_if<msg::tcp_address>(&where_); }
  transport kind() const noexcept { return as_uds() ? transport::uds : transport::tcp; }
  bool empty() const noexcept { return *this == address(); }

  /// The Python tuple as its repr writes it.
  std::string text() const;
  /// "/ip4/…/tcp/…", "/ip6/…/tcp/…", "/dns/…/tcp/…", "/unix/…" (of an absolute path).
  std::string multiaddr() const;
  /// For people: "host:port", "[::1]:1616", "/run/user/0/coppice/root@12.sock".
  std::string describe() const;

  /// The inverse of text() and of multiaddr(); `dns4` and `dns6` are read as `dns`. Throws
  /// protocol_error that quotes what it was given, cut to 200 bytes, and says what is wrong.
  static address parse(const std::string& text);
  friend bool operator==(const address&, const address&) = default;

 private:
  msg::wire_address where_ = msg::uds_address{};
};

/// The directory for this user's sockets: $XDG_RUNTIME_DIR/coppice or /tmp/coppice-<uid>, made with
/// mode 0700. Throws coppice::error if somebody else owns it or others may enter it.
std::string runtime_directory();

/// A listening address for an actor of this process: "<name>@<pid>.sock" if it is alone in the
/// process, else "<name>.<uuid8>@<pid>.sock"; a name that is unsafe in a path or too long is
/// hashed.
address socket_address(const std::string& name, const std::string& uuid, bool alone);

/// ("name", "uuid") as a Python tuple's repr, and back: any text survives the round trip, and every
/// escape that Python's repr writes is read. Throws protocol_error.
std::string tuple_text(const std::string& a, const std::string& b);
std::pair<std::string, std::string> parse_tuple(const std::string& text);

}  // namespace coppice::ipc
