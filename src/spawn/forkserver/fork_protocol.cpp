// SPDX-License-Identifier: Apache-2.0
#include "spawn/forkserver/fork_protocol.hpp"

#include <algorithm>
#include <charconv>
#include <exception>
#include <string_view>

#include "coppice/message.hpp"

namespace coppice::spawn {

namespace {

constexpr std::byte order_mark{'o'};  // The body is behind the descriptor.
constexpr std::size_t text_bytes_max = 8 * 1024;

// An order's fields have no NUL in them, since the kernel takes none, and need not be UTF-8: each
// is written with one behind it.
void put(std::vector<std::byte>& to, std::string_view field) {
  const auto* bytes = reinterpret_cast<const std::byte*>(field.data());
  to.insert(to.end(), bytes, bytes + field.size());
  to.push_back(std::byte{0});
}

std::vector<std::string> fields_in(const std::vector<std::byte>& bytes) {
  std::vector<std::string> fields;
  auto from = bytes.begin();
  for (auto end = from; (end = std::find(from, bytes.end(), std::byte{0})) != bytes.end();
       from = end + 1)
    fields.emplace_back(reinterpret_cast<const char*>(&*from),
                        static_cast<std::size_t>(end - from));
  return fields;
}

}  // namespace

packet pack(const fork_order& order) {
  std::vector<std::byte> body;
  put(body, std::to_string(order.number));
  put(body, order.uid);
  put(body, order.parent_address);
  put(body, order.cwd);
  put(body, order.in_guest ? "guest" : "");
  put(body, order.shared_gil ? "shared" : "");
  for (const auto& one : order.environment) put(body, one);
  packet p;
  p.bytes.push_back(order_mark);
  p.fd = in_memory(body);
  return p;
}

packet pack(const zygote_answer& answer) {
  zygote_answer fits = answer;
  fits.text.resize(std::min(answer.text.size(), text_bytes_max));
  fits.text.resize(msgpack::utf8_prefix(fits.text));
  msgpack::buffer out;
  msgpack::writer w(out);
  codec<zygote_answer>::encode(w, fits);
  packet p;
  p.bytes.assign(out.bytes().begin(), out.bytes().end());
  return p;
}

std::optional<fork_order> order_in(const packet& p) {
  if (p.bytes.size() != 1 || p.bytes[0] != order_mark || !p.fd) return std::nullopt;
  std::vector<std::string> fields;
  try {
    fields = fields_in(from_memory(p.fd.get()));
  } catch (const std::exception&) {
    return std::nullopt;
  }
  constexpr std::size_t fixed = 6;
  if (fields.size() < fixed) return std::nullopt;
  fork_order order;
  const std::string& number = fields[0];
  const auto read = std::from_chars(number.data(), number.data() + number.size(), order.number);
  if (read.ec != std::errc() || read.ptr != number.data() + number.size()) return std::nullopt;
  order.uid = fields[1];
  order.parent_address = fields[2];
  order.cwd = fields[3];
  order.in_guest = !fields[4].empty();
  order.shared_gil = !fields[5].empty();
  order.environment.assign(fields.begin() + fixed, fields.end());
  return order;
}

std::optional<zygote_answer> answer_in(const packet& p) {
  try {
    msgpack::reader r(p.bytes);
    return codec<zygote_answer>::decode(r);
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

}  // namespace coppice::spawn
