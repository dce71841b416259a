// SPDX-License-Identifier: Apache-2.0
#include "ipc/address.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/ip/address.hpp>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <optional>
#include <string_view>
#include <utility>

#include "coppice/errors.hpp"

namespace coppice::ipc {

namespace {

// As Python writes it, but that every control character is \xNN: the other side may be Python.
std::string quoted(const std::string& s) {
  std::string out = "'";
  for (char c : s) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\x{:02x}", byte);
      continue;
    }
    if (c == '\'' || c == '\\') out += '\\';
    out += c;
  }
  return out + "'";
}

[[noreturn]] void refuse(std::string_view wanted, const std::string& text) {
  constexpr std::size_t shown = 200;
  throw protocol_error(fmt::format("expected {}, got: {}", wanted,
                                   text.size() <= shown ? text : text.substr(0, shown) + "..."));
}
constexpr std::string_view wanted_pair = "a pair like ('a', 'b')";
constexpr std::string_view wanted_address =
    "an address like ('/directory', 'file.sock'), ('127.0.0.1', 1616), /unix/directory/file.sock, "
    "/ip4/127.0.0.1/tcp/1616, /ip6/::1/tcp/1616 or /dns/host/tcp/1616";

void append_utf8(std::string& out, std::uint32_t c) {
  const auto put = [&](std::uint32_t byte) { out += static_cast<char>(byte); };
  if (c < 0x80) return put(c);
  if (c < 0x800) {
    put(0xc0 | c >> 6);
  } else {
    if (c < 0x10000) {
      put(0xe0 | c >> 12);
    } else {
      put(0xf0 | c >> 18);
      put(0x80 | (c >> 12 & 0x3f));
    }
    put(0x80 | (c >> 6 & 0x3f));
  }
  put(0x80 | (c & 0x3f));
}

/// Reads what Python's repr writes of a str.
class literal_reader {
 public:
  literal_reader(const std::string& text, std::string_view wanted) : text_(text), wanted_(wanted) {}

  void expect(char c) {
    if (next() != c) refuse(wanted_, text_);
  }
  bool at_end() const { return at_ == text_.size(); }

  bool at_string() {
    skip_spaces();
    return at_ < text_.size() && (text_[at_] == '\'' || text_[at_] == '"');
  }
  /// What comes before `end`, which is not taken.
  std::string_view until(char end) {
    skip_spaces();
    const auto from = std::string_view(text_).substr(at_);
    const auto taken = from.substr(0, from.find(end));
    at_ += taken.size();
    return taken;
  }

  std::string string() {
    skip_spaces();
    const char quote = next();
    if (quote != '\'' && quote != '"') refuse(wanted_, text_);
    std::string out;
    for (char c = next(); c != quote; c = next()) {
      if (c == '\\')
        escape(out);
      else
        out += c;
    }
    return out;
  }

 private:
  char next() {
    if (at_ >= text_.size()) refuse(wanted_, text_);
    return text_[at_++];
  }

  void skip_spaces() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
  }

  void escape(std::string& out) {
    switch (const char c = next(); c) {
      case '\\':
      case '\'':
      case '"':
        out += c;
        break;
      case 'n':
        out += '\n';
        break;
      case 'r':
        out += '\r';
        break;
      case 't':
        out += '\t';
        break;
      case 'x':
        append_utf8(out, hex(2));
        break;
      case 'u':
        append_utf8(out, hex(4));
        break;
      case 'U':
        append_utf8(out, hex(8));
        break;
      default:
        refuse(wanted_, text_);
    }
  }

  std::uint32_t hex(int digits) {
    std::uint32_t value = 0;
    for (; digits > 0; --digits) {
      const char c = next();
      const bool decimal = c >= '0' && c <= '9';
      const auto low = static_cast<char>(c | 0x20);
      if (!decimal && (low < 'a' || low > 'f')) refuse(wanted_, text_);
      value = value << 4 | static_cast<std::uint32_t>(decimal ? c - '0' : low - 'a' + 10);
    }
    if (value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) refuse(wanted_, text_);
    return value;
  }

  const std::string& text_;
  const std::string_view wanted_;
  std::size_t at_ = 0;
};

// Not std::isalnum(): what it takes for a letter depends on the locale of the program.
bool safe_in_a_path(const std::string& name) {
  if (name.empty() || name[0] == '.') return false;
  constexpr std::string_view others = "_-.[]";
  return std::ranges::all_of(name, [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           others.find(c) != others.npos;
  });
}

}  // namespace

std::string tuple_text(const std::string& a, const std::string& b) {
  return "(" + quoted(a) + ", " + quoted(b) + ")";
}

std::pair<std::string, std::string> parse_tuple(const std::string& text) {
  literal_reader in(text, wanted_pair);
  in.expect('(');
  std::string first = in.string();
  in.expect(',');
  std::string second = in.string();
  in.expect(')');
  if (!in.at_end()) refuse(wanted_pair, text);
  return {std::move(first), std::move(second)};
}

// --- addresses -----------------------------------------------------------------------------------

namespace {

std::optional<std::uint16_t> port_of(std::string_view digits) {
  std::uint16_t port = 0;
  const char* end = digits.data() + digits.size();
  const auto [at, error] = std::from_chars(digits.data(), end, port);
  if (error != std::errc() || at != end) return std::nullopt;
  return port;
}

/// What kind of host it is, by the name that multiaddr has for it.
std::string_view protocol_of(const std::string& host) {
  boost::system::error_code no;
  const auto ip = boost::asio::ip::make_address(host, no);
  return no ? "dns" : ip.is_v4() ? "ip4" : "ip6";
}

bool is_host(const std::string& text) {
  return !text.empty() && std::ranges::none_of(text, [](char c) {
    return static_cast<unsigned char>(c) <= ' ' || c == '/' || c == 0x7f;
  });
}

address parse_pair(const std::string& text) {
  literal_reader in(text, wanted_address);
  in.expect('(');
  std::string first = in.string();
  in.expect(',');
  address at;
  if (in.at_string()) {
    at = address::uds(std::move(first), in.string());
  } else {
    const auto port = port_of(in.until(')'));
    if (!port || !is_host(first)) refuse(wanted_address, text);
    at = address::tcp(std::move(first), *port);
  }
  in.expect(')');
  if (!in.at_end()) refuse(wanted_address, text);
  return at;
}

// "/ip4/127.0.0.1/tcp/1616": protocol, host, "tcp", port. "/unix/run/x.sock": the rest is the path.
address parse_multiaddr(const std::string& text) {
  std::string_view rest = text;
  const auto next = [&rest] {
    rest.remove_prefix(std::min<std::size_t>(1, rest.size()));
    const auto part = rest.substr(0, rest.find('/'));
    rest.remove_prefix(part.size());
    return part;
  };
  const auto protocol = next();
  if (protocol == "unix") {
    const auto slash = rest.rfind('/');
    if (slash == rest.npos || slash + 1 == rest.size() || rest.find('\0') != rest.npos)
      refuse(wanted_address, text);
    return address::uds(std::string(rest.substr(0, slash)), std::string(rest.substr(slash + 1)));
  }
  const bool named = protocol == "dns" || protocol == "dns4" || protocol == "dns6";
  if (!named && protocol != "ip4" && protocol != "ip6") refuse(wanted_address, text);
  std::string host(next());
  const bool tcp = next() == "tcp";
  const auto port = port_of(next());
  if (!tcp || !port || !rest.empty() || !is_host(host)) refuse(wanted_address, text);
  if (!named && protocol_of(host) != protocol) refuse(wanted_address, text);
  return address::tcp(std::move(host), *port);
}

}  // namespace

std::string_view name_of(transport t) noexcept { return t == transport::uds ? "uds" : "tcp"; }

transport parse_transport(std::string_view name) {
  for (const auto t : {transport::uds, transport::tcp})
    if (name == name_of(t)) return t;
  throw error(fmt::format("unknown transport '{}': there are uds and tcp", name));
}

address address::uds(std::string directory, std::string file) {
  return msg::wire_address(msg::uds_address{std::move(directory), std::move(file)});
}

address address::tcp(std::string host, std::uint16_t port) {
  return msg::wire_address(msg::tcp_address{std::move(host), port});
}

std::string address::text() const {
  if (const auto* u = as_uds()) return tuple_text(u->directory, u->file);
  return fmt::format("({}, {})", quoted(as_tcp()->host), as_tcp()->port);
}

std::string address::multiaddr() const {
  if (as_uds()) return "/unix" + describe();
  return fmt::format("/{}/{}/tcp/{}", protocol_of(as_tcp()->host), as_tcp()->host, as_tcp()->port);
}

std::string address::describe() const {
  if (const auto* u = as_uds()) return u->directory + "/" + u->file;
  const msg::tcp_address& at = *as_tcp();
  if (at.host.find(':') != at.host.npos) return fmt::format("[{}]:{}", at.host, at.port);
  return fmt::format("{}:{}", at.host, at.port);
}

address address::parse(const std::string& text) {
  return text.starts_with('/') ? parse_multiaddr(text) : parse_pair(text);
}

// --- the socket directory ------------------------------------------------------------------------

std::string runtime_directory() {
  std::string dir;
  if (const char* xdg = std::getenv("XDG_RUNTIME_DIR"); xdg && *xdg == '/')
    dir = std::string(xdg) + "/coppice";
  else
    dir = fmt::format("/tmp/coppice-{}", ::getuid());
  if (::mkdir(dir.c_str(), 0700) != 0 && errno != EEXIST)
    throw error(
        fmt::format("cannot make the socket directory {}: {}; set XDG_RUNTIME_DIR to a "
                    "directory of yours",
                    dir, std::strerror(errno)));
  struct stat s{};
  // lstat: a link planted in /tmp must not lead our sockets elsewhere.
  if (::lstat(dir.c_str(), &s) != 0 || !S_ISDIR(s.st_mode) || s.st_uid != ::getuid() ||
      (s.st_mode & 077) != 0)
    throw error(
        fmt::format("the socket directory {} is not a directory of yours with mode 0700; "
                    "remove it or set XDG_RUNTIME_DIR",
                    dir));
  return dir;
}

address socket_address(const std::string& name, const std::string& uuid, bool alone) {
  std::string dir = runtime_directory();
  const std::string tail = fmt::format("@{}.sock", ::getpid());
  const std::string uuid8 = uuid.substr(0, 8);
  std::string file = alone ? name + tail : fmt::format("{}.{}{}", name, uuid8, tail);
  const bool safe = safe_in_a_path(name) && (alone || safe_in_a_path(uuid8));
  // sun_path holds 108 bytes with its final zero.
  if (!safe || dir.size() + 1 + file.size() >= sizeof(sockaddr_un::sun_path))
    file = fmt::format("actor.{:016x}{}", std::hash<std::string>{}(name + uuid), tail);
  if (dir.size() + 1 + file.size() >= sizeof(sockaddr_un::sun_path))
    throw error(
        fmt::format("the socket directory {} is too long for a unix socket; set "
                    "XDG_RUNTIME_DIR to a shorter one",
                    dir));
  return address::uds(std::move(dir), std::move(file));
}

}  // namespace coppice::ipc
