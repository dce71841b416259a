// SPDX-License-Identifier: Apache-2.0
#include "ipc/address.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
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

[[noreturn]] void refuse(const std::string& text) {
  constexpr std::size_t shown = 200;
  throw protocol_error("expected a pair like ('a', 'b'), got: " +
                       (text.size() <= shown ? text : text.substr(0, shown) + "..."));
}

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
  explicit literal_reader(const std::string& text) : text_(text) {}

  void expect(char c) {
    if (next() != c) refuse(text_);
  }
  bool at_end() const { return at_ == text_.size(); }

  std::string string() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
    const char quote = next();
    if (quote != '\'' && quote != '"') refuse(text_);
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
    if (at_ >= text_.size()) refuse(text_);
    return text_[at_++];
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
        refuse(text_);
    }
  }

  std::uint32_t hex(int digits) {
    std::uint32_t value = 0;
    for (; digits > 0; --digits) {
      const char c = next();
      const bool decimal = c >= '0' && c <= '9';
      const auto low = static_cast<char>(c | 0x20);
      if (!decimal && (low < 'a' || low > 'f')) refuse(text_);
      value = value << 4 | static_cast<std::uint32_t>(decimal ? c - '0' : low - 'a' + 10);
    }
    if (value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) refuse(text_);
    return value;
  }

  const std::string& text_;
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
  literal_reader in(text);
  in.expect('(');
  std::string first = in.string();
  in.expect(',');
  std::string second = in.string();
  in.expect(')');
  if (!in.at_end()) refuse(text);
  return {std::move(first), std::move(second)};
}

std::string address::text() const { return tuple_text(directory, file); }

address address::parse(const std::string& text) {
  auto [directory, file] = parse_tuple(text);
  return {std::move(directory), std::move(file)};
}

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
  return {std::move(dir), std::move(file)};
}

}  // namespace coppice::ipc
