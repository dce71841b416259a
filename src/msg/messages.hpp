// SPDX-License-Identifier: Apache-2.0
// The messages of the wire protocol, tractor's ten and ours, to and from their bytes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "coppice/detail/msgpack.hpp"
#include "coppice/errors.hpp"
#include "coppice/message.hpp"
#include "coppice/payload.hpp"

// The protocol is tractor's (docs/formats/wire.md): each message is one msgpack map with the key
// `msg_type`. Fields stand here in the order in which they are sent, under their keys on the wire;
// those with a default may be missing on arrival and are always sent. What actors say to each other
// (`pld`, the values in `kwargs`) stays raw: a slice of the frame.

namespace coppice::msg {

/// What a Coppice peer adds to its Aid: only who announced an extension is ever sent it.
struct extensions {
  int v = 1;
  std::vector<std::string> ext;
  friend bool operator==(const extensions&, const extensions&) = default;
};

struct tcp_address {
  std::string host;
  std::uint16_t port = 0;
  friend bool operator==(const tcp_address&, const tcp_address&) = default;
};
struct uds_address {
  std::string directory;
  std::string file;
  friend bool operator==(const uds_address&, const uds_address&) = default;
};
/// [host, port] or [directory, file]: the type of the second element decides.
using wire_address = std::variant<tcp_address, uds_address>;

/// Module name and path of its source, in the order in which they are imported. A map on the wire.
struct module_paths {
  std::vector<std::pair<std::string, std::string>> list;
  friend bool operator==(const module_paths&, const module_paths&) = default;
};

/// How much of a stream its receiver lets the other side send before it has taken any of it. On the
/// wire [messages, bytes].
struct stream_credit {
  std::uint32_t messages = 0;
  std::uint64_t bytes = 0;
  friend bool operator==(const stream_credit&, const stream_credit&) = default;
};

/// What kind of function answers: on the wire "asyncfunc", "asyncgen" or "context".
enum class call_kind : std::uint8_t { asyncfunc, asyncgen, context };

/// Both ends of a connection introduce themselves before anything else.
struct aid {
  std::string name;
  std::string uuid;
  std::optional<std::int64_t> pid;
  std::optional<bool> is_registrar;           // Nil counts as yes: older peers do not say.
  bool is_probe = false;                      // Only asks whether somebody is there.
  std::optional<msg::extensions> extensions;  // Key `coppice`; absent: the peer is not one of us.
  friend bool operator==(const aid&, const aid&) = default;
};

/// What a parent tells a child that it started, once, right after the Aids.
struct spawn_spec {
  payload parent_main_data;  // Map.
  payload runtime_vars;      // Map.
  module_paths enable_modules;
  std::vector<wire_address> reg_addrs;
  std::optional<std::vector<wire_address>> bind_addrs;
  friend bool operator==(const spawn_spec&, const spawn_spec&) = default;
};

/// Asks for a call, a stream or a dialog under a new `cid`.
struct start {
  std::string cid;
  std::string ns;  // Module, or "self" for the actor's own methods.
  std::string func;
  payload kwargs;    // Map with str keys.
  coppice::uid uid;  // The asking actor.
  std::string pld_spec = "typing.Any";
  // Key `coppice_credit`, here and in StartAck: what the other side may send in Yield. Absent: the
  // sender of this message knows no credit, and tractor's overrun rules hold.
  std::optional<stream_credit> credit = {};
  friend bool operator==(const start&, const start&) = default;
};

struct start_ack {
  std::string cid;
  call_kind functype = call_kind::asyncfunc;
  std::optional<stream_credit> credit = {};
  friend bool operator==(const start_ack&, const start_ack&) = default;
};

/// The first word of a dialog's callee.
struct started {
  std::string cid;
  payload pld;
  friend bool operator==(const started&, const started&) = default;
};

/// One value of a stream.
struct yield {
  std::string cid;
  payload pld;
  friend bool operator==(const yield&, const yield&) = default;
};

/// The end of one direction of a stream.
struct stop {
  std::string cid;
  friend bool operator==(const stop&, const stop&) = default;
};

/// The result of a call or a dialog. `Return` on the wire.
struct returned {
  std::string cid;
  payload pld;
  friend bool operator==(const returned&, const returned&) = default;
};

/// The answer to `self._cancel_task` and `self.cancel`: what was cancelled has ended.
struct cancel_ack {
  std::string cid;
  bool pld = true;
  friend bool operator==(const cancel_ack&, const cancel_ack&) = default;
};

/// A failure, boxed to travel. `Error` on the wire.
struct boxed_error {
  uid src_uid;                  // Who raised it.
  std::string src_type_str;     // Its class there.
  std::string boxed_type_str;   // Its class at the last hop.
  std::vector<uid> relay_path;  // Whom it passed through, the first one first.
  std::optional<std::string> message;
  std::string tb_str;
  std::optional<uid> canceller;    // Of a ContextCancelled: who asked.
  std::optional<uid> sender;       // Of a StreamOverrun: whose message did not fit.
  std::optional<std::string> cid;  // None: it concerns the whole connection.
  payload bad_msg;                 // Nil or a map, like the next: of a MsgTypeError.
  payload bad_msg_as_dict;
  // Key `coppice_mismatch`, a map with the keys type, expected, got and cid: what a MsgTypeError
  // says of `_bad_msg`. Sent to Coppice peers only. `bytes` is empty here.
  std::optional<bad_message> mismatch;
  // Key `coppice_members`, a list of maps with the keys above, source to sender and the two of
  // a MsgTypeError, each with members of its own: what an exception group holds. Sent to Coppice
  // peers only, and only if there are any.
  std::vector<remote_error_info> members;
};

// --- Ours: sent only to a peer whose Aid announced them ---

/// So much of a stream was taken by its receiver: as much may be sent again. `coppice.Credit` on
/// the wire; announced as "credit".
struct credit {
  std::string cid;
  std::uint32_t n = 0;      // Messages.
  std::uint64_t bytes = 0;  // Of their payloads.
  friend bool operator==(const credit&, const credit&) = default;
};

/// Is anybody there? `coppice.Ping` and its answer `coppice.Pong`; announced as "ping".
struct ping {
  std::uint64_t n = 0;
  friend bool operator==(const ping&, const ping&) = default;
};
struct pong {
  std::uint64_t n = 0;
  friend bool operator==(const pong&, const pong&) = default;
};

using message = std::variant<aid, spawn_spec, start, start_ack, started, yield, stop, returned,
                             cancel_ack, boxed_error, credit, ping, pong>;

/// Did the peer with this Aid announce the extension?
bool announces(const aid& peer, std::string_view extension) noexcept;

/// "Start", "Return", …: the tag on the wire.
std::string_view type_name(const message& m) noexcept;
/// The call it belongs to; null if none.
const std::string* cid_of(const message& m) noexcept;

/// Whom a frame is for: a tractor peer is sent nothing that its protocol does not have.
enum class dialect : std::uint8_t { tractor, coppice };

/// A frame is a length, 4 bytes little-endian, and that many bytes: one message.
inline constexpr std::size_t frame_header_bytes = 4;
std::uint32_t frame_length(std::span<const std::byte, frame_header_bytes> header) noexcept;
/// The length of a message of this type and size. Throws limit_exceeded beyond 4 GiB.
std::array<std::byte, frame_header_bytes> frame_header(std::string_view type, std::size_t size);

/// Appends the message without its length. Throws message_type_error if a text in it is not UTF-8
/// (those of a boxed_error are mended instead: an error must always get through), if `kwargs` is no
/// map, or for a message of ours to a tractor peer; `out` is then as before.
void encode(const message& m, msgpack::buffer& out, dialect to = dialect::tractor);

/// The same with its length in front. Throws limit_exceeded beyond 4 GiB.
void encode_frame(const message& m, msgpack::buffer& out, dialect to = dialect::tractor);

/// The message in a frame's bytes (without the length). Payloads are slices that keep `frame`
/// alive.
///
/// Keys may come in any order and unknown ones are ignored. Throws protocol_error, which says what
/// is wrong in one sentence, if the bytes are not one message: no map, no or an unknown `msg_type`,
/// a required key missing, a key twice, a value of the wrong type, text that is not UTF-8, bytes
/// after the end. Throws limit_exceeded if the message itself is nested deeper than `depth_max`;
/// payloads may be: that costs the call that decodes them, not the connection.
message decode(payload frame, int depth_max = msgpack::reader::depth_max_default);

/// An error as it travels, and back. Group members below `members_depth_max` levels are dropped.
inline constexpr int members_depth_max = 32;
boxed_error to_message(remote_error_info error, std::optional<std::string> cid);
remote_error_info to_error_info(boxed_error m);

}  // namespace coppice::msg

namespace coppice {

template <>
struct codec<msg::wire_address> {
  static void encode(msgpack::writer& w, const msg::wire_address& v);
  static msg::wire_address decode(msgpack::reader& r);
};

template <>
struct codec<msg::module_paths> {
  static void encode(msgpack::writer& w, const msg::module_paths& v);
  static msg::module_paths decode(msgpack::reader& r);
};

template <>
struct codec<msg::stream_credit> {
  static void encode(msgpack::writer& w, const msg::stream_credit& v);
  static msg::stream_credit decode(msgpack::reader& r);
};

template <>
struct codec<msg::call_kind> {
  static void encode(msgpack::writer& w, msg::call_kind v);
  static msg::call_kind decode(msgpack::reader& r);
};

}  // namespace coppice
