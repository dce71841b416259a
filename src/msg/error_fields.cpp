// SPDX-License-Identifier: Apache-2.0
#include "msg/error_fields.hpp"

#include <cstddef>
#include <iterator>
#include <string_view>

#include "coppice/detail/codec_fields.hpp"
#include "msg/messages.hpp"

namespace coppice::msg {

namespace {

constexpr std::string_view mismatch_keys[] = {"type", "expected", "got", "cid"};

constexpr std::string_view member_keys[] = {
    "src_uid",   "src_type_str", "boxed_type_str", "relay_path",       "message",        "tb_str",
    "canceller", "sender",       "_bad_msg",       "coppice_mismatch", "coppice_members"};

payload raw_of(const bad_message& bad) {
  return bad.bytes.empty() ? payload() : payload::copy_of(bad.bytes);
}

void keep(const payload& raw, bad_message& in) {
  if (raw.is_nil() || raw.size() > bad_message_bytes_max) return;
  const payload flat = raw.flat();
  in.bytes.assign(flat.bytes().begin(), flat.bytes().end());
}

// Of a tractor peer, which sends the message itself and no more.
bad_message mismatch_of(const payload& raw) {
  bad_message bad;
  msgpack::reader r(raw);
  const std::size_t count = r.map();
  for (std::size_t i = 0; i < count; ++i) {
    const bool text_key = r.peek() == msgpack::kind::str;
    const std::string_view key = text_key ? r.raw_str() : std::string_view();
    if (!text_key) r.skip();
    std::string* const to = key == "msg_type" ? &bad.type : key == "cid" ? &bad.cid : nullptr;
    if (to != nullptr && r.peek() == msgpack::kind::str)
      *to = r.raw_str();
    else
      r.skip();
  }
  return bad;
}

payload map_or_nil(msgpack::reader& r) {
  if (r.peek() != msgpack::kind::map && r.peek() != msgpack::kind::nil) r.fail("a map or nil");
  return r.value();
}

void write_members(msgpack::writer& w, const std::vector<remote_error_info>& members, int depth) {
  w.array(members.size());
  for (const remote_error_info& m : members) {
    const bool nested = !m.members.empty() && depth < members_depth_max;
    const bool bad = m.bad_msg.has_value();
    w.map(6u + m.canceller.has_value() + m.sender.has_value() + (bad ? 2u : 0u) + nested);
    w.str(member_keys[0]), write_mended(w, m.source);
    w.str(member_keys[1]), write_mended(w, m.source_type);
    w.str(member_keys[2]), write_mended(w, m.type);
    w.str(member_keys[3]), write_mended(w, m.path);
    w.str(member_keys[4]), write_mended(w, m.message);
    w.str(member_keys[5]), write_mended(w, m.traceback);
    if (m.canceller) w.str(member_keys[6]), write_mended(w, m.canceller);
    if (m.sender) w.str(member_keys[7]), write_mended(w, m.sender);
    if (bad) w.str(member_keys[8]), write_mended(w, raw_of(*m.bad_msg));
    if (bad) w.str(member_keys[9]), write_mended(w, m.bad_msg);
    if (nested) w.str(member_keys[10]), write_members(w, m.members, depth + 1);
  }
}

remote_error_info read_member(msgpack::reader& r) {
  remote_error_info m;
  payload raw;
  const std::size_t count = r.map();
  msgpack::reader::inside here(r);
  std::size_t next = 0;
  for (std::size_t i = 0; i < count; ++i) {
    next = detail::find_name(member_keys, r.raw_str(), next);
    if (next < std::size(member_keys)) here.field(member_keys[next]);
    switch (next++) {
      case 0:
        m.source = codec<uid>::decode(r);
        break;
      case 1:
        m.source_type = r.str();
        break;
      case 2:
        m.type = r.str();
        break;
      case 3:
        m.path = codec<std::vector<uid>>::decode(r);
        break;
      case 4:
        m.message = r.str();
        break;
      case 5:
        m.traceback = r.str();
        break;
      case 6:
        m.canceller = codec<std::optional<uid>>::decode(r);
        break;
      case 7:
        m.sender = codec<std::optional<uid>>::decode(r);
        break;
      case 8:
        raw = map_or_nil(r);
        break;
      case 9:
        m.bad_msg = read_mismatch(r);
        break;
      case 10:
        m.members = read_members(r);
        break;
      default:
        r.skip();
        break;
    }
  }
  if (m.bad_msg) keep(raw, *m.bad_msg);
  return m;
}

}  // namespace

// ---- writing ----

void write_mended(msgpack::writer& w, const std::string& all) {
  if (msgpack::is_utf8(all)) [[likely]]
    return w.str(all);
  std::string_view text = all;
  std::string mended;
  for (;;) {
    const std::size_t good = msgpack::utf8_prefix(text);
    mended += text.substr(0, good);
    if (good == text.size()) break;
    mended += "\xef\xbf\xbd";  // U+FFFD
    text.remove_prefix(good + 1);
  }
  w.str(mended);
}
void write_mended(msgpack::writer& w, const std::optional<std::string>& text) {
  text ? write_mended(w, *text) : w.nil();
}
void write_mended(msgpack::writer& w, const uid& v) {
  w.array(2), write_mended(w, v.name), write_mended(w, v.uuid);
}
void write_mended(msgpack::writer& w, const std::optional<uid>& v) {
  v ? write_mended(w, *v) : w.nil();
}
void write_mended(msgpack::writer& w, const std::vector<uid>& path) {
  w.array(path.size());
  for (const uid& hop : path) write_mended(w, hop);
}
void write_mended(msgpack::writer& w, const payload& v) { w.raw(v); }

void write_mended(msgpack::writer& w, const std::optional<bad_message>& v) {
  w.map(4);
  w.str(mismatch_keys[0]), write_mended(w, v->type);
  w.str(mismatch_keys[1]), write_mended(w, v->expected);
  w.str(mismatch_keys[2]), write_mended(w, v->got);
  w.str(mismatch_keys[3]), write_mended(w, v->cid);
}

void write_mended(msgpack::writer& w, const std::vector<remote_error_info>& members) {
  write_members(w, members, 1);
}

// ---- reading ----

bad_message read_mismatch(msgpack::reader& r) {
  bad_message bad;
  std::string* const texts[] = {&bad.type, &bad.expected, &bad.got, &bad.cid};
  const std::size_t count = r.map();
  msgpack::reader::inside here(r);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t found = detail::find_name(mismatch_keys, r.raw_str(), i);
    if (found == std::size(mismatch_keys)) {
      r.skip();
      continue;
    }
    here.field(mismatch_keys[found]);
    *texts[found] = r.str();
  }
  return bad;
}

std::vector<remote_error_info> read_members(msgpack::reader& r) {
  const std::size_t count = r.array();
  msgpack::reader::inside here(r);
  std::vector<remote_error_info> members;
  for (std::size_t i = 0; i < count; ++i) here.index(i), members.push_back(read_member(r));
  return members;
}

// ---- as a whole ----

boxed_error to_message(remote_error_info error, std::optional<std::string> cid) {
  boxed_error m;
  m.src_uid = std::move(error.source);
  m.src_type_str = std::move(error.source_type);
  m.boxed_type_str = std::move(error.type);
  m.relay_path = std::move(error.path);
  m.message = std::move(error.message);
  m.tb_str = std::move(error.traceback);
  m.canceller = std::move(error.canceller);
  m.sender = std::move(error.sender);
  m.cid = std::move(cid);
  if (error.bad_msg) {
    m.bad_msg = raw_of(*error.bad_msg);
    m.mismatch = std::move(error.bad_msg);
    m.mismatch->bytes = {};
  }
  m.members = std::move(error.members);
  return m;
}

remote_error_info to_error_info(boxed_error m) {
  remote_error_info error;
  error.type = std::move(m.boxed_type_str);
  error.source_type = std::move(m.src_type_str);
  error.message = std::move(m.message).value_or(std::string());
  error.traceback = std::move(m.tb_str);
  error.source = std::move(m.src_uid);
  error.path = std::move(m.relay_path);
  error.canceller = std::move(m.canceller);
  error.sender = std::move(m.sender);
  const payload& raw = m.bad_msg.is_nil() ? m.bad_msg_as_dict : m.bad_msg;
  if (m.mismatch)
    error.bad_msg = std::move(m.mismatch);
  else if (!raw.is_nil())
    error.bad_msg = mismatch_of(raw);
  if (error.bad_msg) keep(raw, *error.bad_msg);
  error.members = std::move(m.members);
  return error;
}

}  // namespace coppice::msg
