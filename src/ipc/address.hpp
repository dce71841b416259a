// SPDX-License-Identifier: Apache-2.0
// Where an actor listens.
#pragma once

#include <string>
#include <utility>

namespace coppice::ipc {

/// A unix socket: on the wire `[directory, file]`, on a command line the Python tuple of the two.
struct address {
  std::string directory;
  std::string file;

  std::string path() const { return directory + "/" + file; }
  /// "('/run/user/0/coppice', 'root@12.sock')", as a Python repr.
  std::string text() const;
  /// The inverse of text(). Throws protocol_error that quotes what it was given, cut to 200 bytes.
  static address parse(const std::string& text);
  friend bool operator==(const address&, const address&) = default;
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
