// SPDX-License-Identifier: Apache-2.0
#include "msg/messages.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <tuple>
#include <type_traits>

#include "coppice/detail/codec_fields.hpp"
#include "msg/error_fields.hpp"

namespace coppice::msg {

namespace {

// ---- what stands where: one table per message ----

enum class presence : std::uint8_t {
  required,   // Must be there on arrival.
  defaulted,  // May be missing on arrival; always sent.
  extension,  // Sent only if not empty; see extension_goes_to().
};

template <class T, class Member>
struct field {
  std::string_view key;
  Member T::* member;
  presence is;
};
template <class T, class Member>
constexpr field<T, Member> required(std::string_view key, Member T::* member) {
  return {key, member, presence::required};
}
template <class T, class Member>
constexpr field<T, Member> defaulted(std::string_view key, Member T::* member) {
  return {key, member, presence::defaulted};
}
template <class T, class Member>
constexpr field<T, Member> extension(std::string_view key, Member T::* member) {
  return {key, member, presence::extension};
}

template <class T>
struct layout;
template <>
struct layout<aid> {
  static constexpr std::string_view tag = "Aid";
  static constexpr auto fields = std::tuple{
      required("name", &aid::name),          required("uuid", &aid::uuid),
      defaulted("pid", &aid::pid),           defaulted("is_registrar", &aid::is_registrar),
      defaulted("is_probe", &aid::is_probe), extension("coppice", &aid::extensions)};
};
template <>
struct layout<spawn_spec> {
  static constexpr std::string_view tag = "SpawnSpec";
  static constexpr auto fields =
      std::tuple{required("_parent_main_data", &spawn_spec::parent_main_data),
                 required("_runtime_vars", &spawn_spec::runtime_vars),
                 required("enable_modules", &spawn_spec::enable_modules),
                 required("reg_addrs", &spawn_spec::reg_addrs),
                 required("bind_addrs", &spawn_spec::bind_addrs)};
};
template <>
struct layout<start> {
  static constexpr std::string_view tag = "Start";
  static constexpr auto fields = std::tuple{required("cid", &start::cid),
                                            required("ns", &start::ns),
                                            required("func", &start::func),
                                            required("kwargs", &start::kwargs),
                                            required("uid", &start::uid),
                                            defaulted("pld_spec", &start::pld_spec),
                                            extension("coppice_credit", &start::credit)};
};
template <>
struct layout<start_ack> {
  static constexpr std::string_view tag = "StartAck";
  static constexpr auto fields =
      std::tuple{required("cid", &start_ack::cid), required("functype", &start_ack::functype),
                 extension("coppice_credit", &start_ack::credit)};
};
template <>
struct layout<started> {
  static constexpr std::string_view tag = "Started";
  static constexpr auto fields =
      std::tuple{required("cid", &started::cid), required("pld", &started::pld)};
};
template <>
struct layout<yield> {
  static constexpr std::string_view tag = "Yield";
  static constexpr auto fields =
      std::tuple{required("cid", &yield::cid), required("pld", &yield::pld)};
};
template <>
struct layout<stop> {
  static constexpr std::string_view tag = "Stop";
  static constexpr auto fields = std::tuple{required("cid", &stop::cid)};
};
template <>
struct layout<returned> {
  static constexpr std::string_view tag = "Return";
  static constexpr auto fields =
      std::tuple{required("cid", &returned::cid), required("pld", &returned::pld)};
};
template <>
struct layout<cancel_ack> {
  static constexpr std::string_view tag = "CancelAck";
  static constexpr auto fields =
      std::tuple{required("cid", &cancel_ack::cid), required("pld", &cancel_ack::pld)};
};
template <>
struct layout<boxed_error> {
  static constexpr std::string_view tag = "Error";
  static constexpr auto fields =
      std::tuple{required("src_uid", &boxed_error::src_uid),
                 required("src_type_str", &boxed_error::src_type_str),
                 required("boxed_type_str", &boxed_error::boxed_type_str),
                 required("relay_path", &boxed_error::relay_path),
                 defaulted("message", &boxed_error::message),
                 defaulted("tb_str", &boxed_error::tb_str),
                 defaulted("canceller", &boxed_error::canceller),
                 defaulted("sender", &boxed_error::sender),
                 defaulted("cid", &boxed_error::cid),
                 defaulted("_bad_msg", &boxed_error::bad_msg),
                 defaulted("_bad_msg_as_dict", &boxed_error::bad_msg_as_dict),
                 extension("coppice_mismatch", &boxed_error::mismatch),
                 extension("coppice_members", &boxed_error::members)};
};

template <>
struct layout<credit> {
  static constexpr std::string_view tag = "coppice.Credit";
  static constexpr auto fields = std::tuple{
      required("cid", &credit::cid), required("n", &credit::n), required("bytes", &credit::bytes)};
};
template <>
struct layout<ping> {
  static constexpr std::string_view tag = "coppice.Ping";
  static constexpr auto fields = std::tuple{required("n", &ping::n)};
};
template <>
struct layout<pong> {
  static constexpr std::string_view tag = "coppice.Pong";
  static constexpr auto fields = std::tuple{required("n", &pong::n)};
};

template <class T>
constexpr bool is_ours = layout<T>::tag.starts_with("coppice.");

template <class T>
constexpr std::size_t field_count = std::tuple_size_v<decltype(layout<T>::fields)>;

template <class T>
constexpr auto keys = std::apply(
    [](const auto&... f) { return std::array<std::string_view, sizeof...(f)>{f.key...}; },
    layout<T>::fields);

constexpr auto tags = []<class... T>(std::type_identity<std::variant<T...>>) {
  return std::array<std::string_view, sizeof...(T)>{layout<T>::tag...};
}(std::type_identity<message>());

// Calls f.operator()<I>() for the one I that is `index`.
template <std::size_t Count, class F>
void with_index(std::size_t index, F f) {
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    (void)((I == index && (f.template operator()<I>(), true)) || ...);
  }(std::make_index_sequence<Count>());
}

// ---- encoding ----

// An Aid is sent before one knows who listens, and unknown keys are ignored.
template <class T>
bool extension_goes_to(dialect to) {
  return std::is_same_v<T, aid> || to == dialect::coppice;
}

template <class T>
bool is_empty(const std::optional<T>& v) {
  return !v.has_value();
}
bool is_empty(const std::vector<remote_error_info>& v) { return v.empty(); }

template <class T, class Member>
bool is_sent(const T& m, const field<T, Member>& f, dialect to) {
  if constexpr (requires { is_empty(m.*f.member); }) {
    if (f.is == presence::extension) return extension_goes_to<T>(to) && !is_empty(m.*f.member);
  }
  return true;
}

template <class T, class Member>
void encode_field(msgpack::writer& w, const T& m, const field<T, Member>& f) {
  w.str(f.key);
  if constexpr (std::is_same_v<T, boxed_error>) {
    write_mended(w, m.*f.member);
  } else {
    codec<Member>::encode(w, m.*f.member);
  }
}

void check_is_map(const payload& v, std::string_view key) {
  if (msgpack::reader(v).peek() == msgpack::kind::map) return;
  throw message_type_error(std::string(key) + " must be a map of names to values");
}
void check_before_sending(const start& m) { check_is_map(m.kwargs, "kwargs"); }
void check_before_sending(const spawn_spec& m) {
  check_is_map(m.parent_main_data, "_parent_main_data");
  check_is_map(m.runtime_vars, "_runtime_vars");
}
template <class T>
void check_before_sending(const T&) {}

template <class T>
void encode_as(const T& m, msgpack::buffer& out, dialect to) {
  if (is_ours<T> && to != dialect::coppice)
    throw message_type_error(std::string(layout<T>::tag) + " is nothing that a tractor peer knows");
  check_before_sending(m);
  msgpack::writer w(out);
  std::apply(
      [&](const auto&... f) {
        w.map(1 + (std::size_t{is_sent(m, f, to)} + ...));
        w.str("msg_type"), w.str(layout<T>::tag);
        ((is_sent(m, f, to) ? encode_field(w, m, f) : void()), ...);
      },
      layout<T>::fields);
}

// ---- decoding ----

struct broken_message {  // Becomes a protocol_error in decode().
  std::string sentence;
};
[[noreturn]] void broken(std::string_view what, std::string_view sentence) {
  throw broken_message{std::string(what) + ": " + std::string(sentence)};
}

// kwargs are a map with str keys: checked here, where it costs the connection, since a Python
// callee could do nothing with others.
payload read_kwargs(msgpack::reader& r) {
  const std::size_t from = r.offset();
  const std::size_t count = r.map();
  {
    msgpack::reader::inside here(r);
    for (std::size_t i = 0; i < count; ++i) {
      here.key(r.str());
      r.skip();
    }
  }
  r.rewind(from);
  return r.value();
}

payload read_map(msgpack::reader& r, bool or_nil) {
  const msgpack::kind found = r.peek();
  const bool fits = found == msgpack::kind::map || (or_nil && found == msgpack::kind::nil);
  if (!fits) r.fail(or_nil ? "a map or nil" : "a map");
  return r.value();
}

template <class T, class Member>
Member read_field(msgpack::reader& r, const field<T, Member>&) {
  if constexpr (std::is_same_v<Member, std::vector<remote_error_info>>) {
    return read_members(r);
  } else if constexpr (std::is_same_v<Member, std::optional<bad_message>>) {
    return read_mismatch(r);
  } else if constexpr (std::is_same_v<Member, payload> && std::is_same_v<T, start>) {
    return read_kwargs(r);
  } else if constexpr (std::is_same_v<Member, payload> && std::is_same_v<T, spawn_spec>) {
    return read_map(r, false);
  } else if constexpr (std::is_same_v<Member, payload> && std::is_same_v<T, boxed_error>) {
    return read_map(r, true);
  } else {
    return codec<Member>::decode(r);
  }
}

template <class T>
void check_required(std::uint32_t seen) {
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    const auto check = [&](std::size_t i, presence is) {
      if (is == presence::required && (seen >> i & 1) == 0) {
        broken(layout<T>::tag, "the key '" + std::string(keys<T>[i]) + "' is missing");
      }
    };
    (check(I, std::get<I>(layout<T>::fields).is), ...);
  }(std::make_index_sequence<field_count<T>>());
}

template <class T>
void decode_into(msgpack::reader& r, T& m) {
  static_assert(field_count<T> < 31);
  const std::size_t count = r.map();
  std::uint32_t seen = 0;  // One bit per field, and the highest for msg_type.
  {
    msgpack::reader::inside here(r);
    std::size_t next = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const std::string_view key = r.raw_str();
      const bool is_tag = key == "msg_type";
      const std::size_t found = is_tag ? 31 : detail::find_name(keys<T>, key, next);
      if (!is_tag && found == field_count<T>) {
        r.skip();
        continue;
      }
      const std::uint32_t bit = std::uint32_t{1} << found;
      if ((seen & bit) != 0)
        broken(layout<T>::tag, "the key '" + std::string(key) + "' is there twice");
      seen |= bit;
      if (is_tag) {
        r.skip();
        continue;
      }
      here.field(keys<T>[found]);
      with_index<field_count<T>>(found, [&]<std::size_t I>() {
        constexpr auto& f = std::get<I>(layout<T>::fields);
        m.*f.member = read_field(r, f);
      });
      next = found + 1;
    }
  }
  if (!r.at_end()) {
    broken(layout<T>::tag, std::to_string(r.remaining()) + " bytes follow the message");
  }
  check_required<T>(seen);
}

// The place of the message's tag in the variant. The reader is then at the start again.
std::size_t find_tag(msgpack::reader& r) {
  if (r.peek() != msgpack::kind::map) {
    broken("frame", "expected a message, which is a map, found " +
                        std::string(msgpack::to_string(r.peek())));
  }
  const std::size_t count = r.map();
  for (std::size_t i = 0; i < count; ++i) {
    if (r.peek() != msgpack::kind::str) {
      broken("frame", "expected a str as key, found " + std::string(msgpack::to_string(r.peek())));
    }
    if (r.raw_str() != "msg_type") {
      r.skip();
      continue;
    }
    const std::string_view tag = r.str();
    const std::size_t index = detail::find_name(tags, tag, 0);
    if (index == tags.size()) {
      broken("frame", "'" + std::string(tag.substr(0, 40)) + "' is not a msg_type");
    }
    r.rewind(0);
    return index;
  }
  broken("frame", "the key 'msg_type' is missing");
}

// ---- the short way ----

// Nearly all frames of streams and of calls that return are {msg_type, cid, pld}, in this order
// from every peer that is known. What is read here is what decode_into() would read; whatever looks
// different in any way is left to it, and so is every error.
template <class T>
struct plain_head {
  static constexpr std::string_view before = "\x83\xa8msg_type", after =
                                                                     "\xa3"
                                                                     "cid";
  static constexpr std::size_t size = before.size() + 1 + layout<T>::tag.size() + after.size();
  static constexpr std::array<char, size> bytes = [] {
    static_assert(field_count<T> == 2 && keys<T>[0] == "cid" && keys<T>[1] == "pld");
    std::array<char, size> all{};
    auto to = std::ranges::copy(before, all.begin()).out;
    *to++ = static_cast<char>(0xa0 | layout<T>::tag.size());
    to = std::ranges::copy(layout<T>::tag, to).out;
    std::ranges::copy(after, to);
    return all;
  }();
};

// The one value that all of `bytes` are?
bool is_one_value(std::span<const std::byte> bytes) {
  msgpack::reader r(bytes);
  r.skip();
  return r.at_end();
}

template <class T>
std::optional<message> read_plain(payload& frame) {
  using head = plain_head<T>;
  constexpr std::string_view pld = "\xa3pld";
  const std::string_view all(reinterpret_cast<const char*>(frame.bytes().data()), frame.size());
  if (!all.starts_with(std::string_view(head::bytes.data(), head::size))) return std::nullopt;
  // Of up to 255 bytes: ids are UUIDs, of 36.
  std::size_t at = head::size;
  if (all.size() < at + 2) return std::nullopt;
  const auto first = static_cast<std::uint8_t>(all[at++]);
  std::size_t length = first & 0x1f;
  if (first == 0xd9)
    length = static_cast<std::uint8_t>(all[at++]);
  else if ((first & 0xe0) != 0xa0)
    return std::nullopt;
  if (all.size() <= at + length + pld.size()) return std::nullopt;
  const std::string_view cid = all.substr(at, length);
  at += length;
  if (all.substr(at, pld.size()) != pld || !msgpack::is_utf8(cid)) return std::nullopt;
  const auto value = frame.bytes().subspan(at + pld.size());
  if (!is_one_value(value)) return std::nullopt;
  // The cid first: its bytes may go with the frame.
  std::optional<message> m(std::in_place, std::in_place_type<T>, std::string(cid), payload());
  std::get<T>(*m).pld = std::move(frame).slice(value);
  return m;
}

// `frame` is then as it was, or has been taken over.
std::optional<message> decode_plain(payload& frame) {
  constexpr std::size_t initial_at = 11;  // Of the tag.
  if (frame.size() <= initial_at) return std::nullopt;
  try {
    switch (static_cast<char>(frame.bytes()[initial_at])) {
      case 'Y':
        return read_plain<yield>(frame);
      case 'R':
        return read_plain<returned>(frame);
      case 'S':
        return read_plain<started>(frame);
      default:
        return std::nullopt;
    }
  } catch (const protocol_error&) {  // The payload is no value.
    return std::nullopt;
  }
}

}  // namespace

std::string_view type_name(const message& m) noexcept { return tags[m.index()]; }

bool announces(const aid& peer, std::string_view extension) noexcept {
  return peer.extensions &&
         std::ranges::find(peer.extensions->ext, extension) != peer.extensions->ext.end();
}

const std::string* cid_of(const message& m) noexcept {
  return std::visit(
      []<class T>(const T& v) -> const std::string* {
        if constexpr (std::is_same_v<T, boxed_error>) {
          return v.cid ? &*v.cid : nullptr;
        } else if constexpr (requires { v.cid; }) {
          return &v.cid;
        } else {
          return nullptr;
        }
      },
      m);
}

std::uint32_t frame_length(std::span<const std::byte, frame_header_bytes> header) noexcept {
  std::uint32_t length = 0;
  for (std::size_t i = frame_header_bytes; i-- > 0;) {
    length = length << 8 | static_cast<std::uint32_t>(header[i]);
  }
  return length;
}

std::array<std::byte, frame_header_bytes> frame_header(std::string_view type, std::size_t size) {
  if (size > std::numeric_limits<std::uint32_t>::max()) {
    throw limit_exceeded(std::string(type) + " of " + std::to_string(size) +
                         " bytes: a frame's length has 32 bits");
  }
  std::array<std::byte, frame_header_bytes> header;
  for (std::size_t i = 0; i < frame_header_bytes; ++i) {
    header[i] = static_cast<std::byte>(size >> (8 * i));
  }
  return header;
}

void encode(const message& m, msgpack::buffer& out, dialect to) {
  const std::size_t before = out.size();
  try {
    std::visit([&](const auto& v) { encode_as(v, out, to); }, m);
  } catch (...) {
    out.truncate(before);
    throw;
  }
}

void encode_frame(const message& m, msgpack::buffer& out, dialect to) {
  const std::size_t before = out.size();
  out.extend(frame_header_bytes);
  try {
    encode(m, out, to);
    const auto header = frame_header(type_name(m), out.size() - before - frame_header_bytes);
    std::ranges::copy(header, out.data() + before);
  } catch (...) {
    out.truncate(before);
    throw;
  }
}

message decode(payload frame, int depth_max) {
  if (depth_max > 0) {
    if (auto m = decode_plain(frame)) return std::move(*m);
  }
  msgpack::reader r(frame, depth_max);
  std::string_view what = "frame";
  try {
    const std::size_t index = find_tag(r);
    what = tags[index];
    message m;
    with_index<std::variant_size_v<message>>(
        index, [&]<std::size_t I>() { decode_into(r, m.emplace<I>()); });
    return m;
  } catch (const broken_message& e) {
    throw protocol_error(e.sentence);
  } catch (const message_type_error& e) {  // Of the envelope: it costs the connection, not a call.
    throw protocol_error(std::string(what) + ": " + e.what());
  } catch (const protocol_error& e) {
    throw protocol_error(std::string(what) + ": " + e.what());
  } catch (const limit_exceeded& e) {
    throw limit_exceeded(std::string(what) + ": " + e.what());
  }
}

}  // namespace coppice::msg

namespace coppice {

void codec<msg::wire_address>::encode(msgpack::writer& w, const msg::wire_address& v) {
  w.array(2);
  if (const auto* tcp = std::get_if<msg::tcp_address>(&v)) {
    codec<std::string>::encode(w, tcp->host);
    w.integer(tcp->port);
  } else {
    const auto& uds = std::get<msg::uds_address>(v);
    codec<std::string>::encode(w, uds.directory);
    codec<std::string>::encode(w, uds.file);
  }
}

msg::wire_address codec<msg::wire_address>::decode(msgpack::reader& r) {
  detail::read_length(r, 2);
  msgpack::reader::inside here(r);
  here.index(0);
  std::string first(r.str());
  here.index(1);
  if (r.peek() == msgpack::kind::str)
    return msg::uds_address{std::move(first), std::string(r.str())};
  if (r.peek() != msgpack::kind::integer) r.fail("a port or the name of a socket file");
  return msg::tcp_address{std::move(first), r.integer<std::uint16_t>()};
}

void codec<msg::module_paths>::encode(msgpack::writer& w, const msg::module_paths& v) {
  w.map(v.list.size());
  for (const auto& [module, path] : v.list) {
    codec<std::string>::encode(w, module);
    codec<std::string>::encode(w, path);
  }
}

msg::module_paths codec<msg::module_paths>::decode(msgpack::reader& r) {
  const std::size_t count = r.map();
  msgpack::reader::inside here(r);
  msg::module_paths v;
  for (std::size_t i = 0; i < count; ++i) {
    here.index(i);
    std::string module(r.str());
    here.key(module);
    v.list.emplace_back(module, r.str());
  }
  return v;
}

void codec<msg::stream_credit>::encode(msgpack::writer& w, const msg::stream_credit& v) {
  w.array(2), w.integer(v.messages), w.integer(v.bytes);
}

msg::stream_credit codec<msg::stream_credit>::decode(msgpack::reader& r) {
  detail::read_length(r, 2);
  msgpack::reader::inside here(r);
  msg::stream_credit v;
  here.index(0), v.messages = r.integer<std::uint32_t>();
  here.index(1), v.bytes = r.integer<std::uint64_t>();
  return v;
}

namespace {
constexpr std::string_view call_kinds[] = {"asyncfunc", "asyncgen", "context"};
}

void codec<msg::call_kind>::encode(msgpack::writer& w, msg::call_kind v) {
  w.str(call_kinds[static_cast<std::size_t>(v)]);
}

msg::call_kind codec<msg::call_kind>::decode(msgpack::reader& r) {
  const std::size_t from = r.offset();
  const std::size_t found = detail::find_name(call_kinds, r.str(), 0);
  if (found == std::size(call_kinds)) {
    r.rewind(from);
    r.fail_with("expected asyncfunc, asyncgen or context");
  }
  return static_cast<msg::call_kind>(found);
}

}  // namespace coppice
