// SPDX-License-Identifier: Apache-2.0
#include "ipc/address.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <utility>

#include "coppice/errors.hpp"

namespace coppice::ipc {

namespace {

std::string quoted(const std::string& s) {
  std::string out = "'";
  for (char c : s) {
    if (c == '\'' || c == '\\') out += '\\';
    out += c;
  }
  return out + "'";
}

// Reads a Python string literal without escapes beyond \\ \' \" at `at`.
std::string parse_string(const std::string& text, std::size_t& at) {
  const auto bad = [&] {
    return protocol_error("expected a pair like ('a', 'b'), got: " + text);
  };
  while (at < text.size() && text[at] == ' ') ++at;
  if (at >= text.size() || (text[at] != '\'' && text[at] != '"')) throw bad();
  const char quote = text[at++];
  std::string out;
  for (; at < text.size() && text[at] != quote; ++at) {
    if (text[at] == '\\' && ++at >= text.size()) throw bad();
    out += text[at];
  }
  if (at++ >= text.size()) throw bad();
  return out;
}

bool safe_in_a_path(const std::string& name) {
  if (name.empty() || name[0] == '.') return false;
  for (unsigned char c : name)
    if (!std::isalnum(c) && c != '_' && c != '-' && c != '.' && c != '[' && c != ']') return false;
  return true;
}

}  // namespace

std::string tuple_text(const std::string& a, const std::string& b) {
  return "(" + quoted(a) + ", " + quoted(b) + ")";
}

std::pair<std::string, std::string> parse_tuple(const std::string& text) {
  const auto bad = [&] {
    return protocol_error("expected a pair like ('a', 'b'), got: " + text);
  };
  if (text.size() < 2 || text.front() != '(' || text.back() != ')') throw bad();
  std::size_t at = 1;
  std::string first = parse_string(text, at);
  if (at >= text.size() || text[at++] != ',') throw bad();
  std::string second = parse_string(text, at);
  if (at != text.size() - 1) throw bad();
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
    throw error(fmt::format("cannot make the socket directory {}: {}; set XDG_RUNTIME_DIR to a "
                            "directory of yours", dir, std::strerror(errno)));
  struct stat s {};
  // lstat: a link planted in /tmp must not lead our sockets elsewhere.
  if (::lstat(dir.c_str(), &s) != 0 || !S_ISDIR(s.st_mode) || s.st_uid != ::getuid() ||
      (s.st_mode & 077) != 0)
    throw error(fmt::format("the socket directory {} is not a directory of yours with mode 0700; "
                            "remove it or set XDG_RUNTIME_DIR", dir));
  return dir;
}

address socket_address(const std::string& name, const std::string& uuid, bool alone) {
  std::string dir = runtime_directory();
  const std::string tail = fmt::format("@{}.sock", ::getpid());
  std::string file = alone ? name + tail : fmt::format("{}.{}{}", name, uuid.substr(0, 8), tail);
  // sun_path holds 108 bytes with its final zero.
  if (!safe_in_a_path(name) || dir.size() + 1 + file.size() >= sizeof(sockaddr_un::sun_path))
    file = fmt::format("actor.{:016x}{}", std::hash<std::string>{}(name + uuid), tail);
  if (dir.size() + 1 + file.size() >= sizeof(sockaddr_un::sun_path))
    throw error(fmt::format("the socket directory {} is too long for a unix socket; set "
                            "XDG_RUNTIME_DIR to a shorter one", dir));
  return {std::move(dir), std::move(file)};
}

}  // namespace coppice::ipc
