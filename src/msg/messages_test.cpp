// SPDX-License-Identifier: Apache-2.0
#include "msg/messages.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "coppice/kw.hpp"
#include "coppice/value.hpp"
#include "msg/test_bytes.hpp"

// The bytes of a real tractor tree are in tests/golden; here is what those frames do not show.

namespace coppice::msg {
namespace {

using pairs = std::vector<std::pair<std::string, value>>;

payload map_of(const pairs& entries) {
  msgpack::buffer out;
  msgpack::writer w(out);
  w.map(entries.size());
  for (const auto& [key, v] : entries) w.str(key), w.raw(v.bytes().bytes());
  return payload::take(std::move(out));
}
value text(std::string_view s) { return value::of(s); }
value empty_map() { return value(unhex_payload("80")); }
value a_uid(std::string name = "root") { return value::of(uid{std::move(name), "1"}); }

pairs an_aid() { return {{"msg_type", text("Aid")}, {"name", text("root")}, {"uuid", text("1")}}; }
pairs a_start() {
  return {{"msg_type", text("Start")}, {"cid", text("c")},      {"ns", text("mod")},
          {"func", text("f")},         {"kwargs", empty_map()}, {"uid", a_uid()}};
}
pairs an_error() {
  return {{"msg_type", text("Error")},
          {"src_uid", a_uid()},
          {"src_type_str", text("ValueError")},
          {"boxed_type_str", text("ValueError")},
          {"relay_path", value::of(std::vector<uid>{{"root", "1"}})}};
}
pairs with(pairs entries, std::string key, value v) {
  for (auto& [k, old] : entries) {
    if (k == key) return old = std::move(v), entries;
  }
  entries.emplace_back(std::move(key), std::move(v));
  return entries;
}

std::string refusal(const payload& p) {
  return text_of<protocol_error>([&] { (void)decode(p); });
}
std::string refusal(const pairs& entries) { return refusal(map_of(entries)); }

std::string sent(const message& m, dialect to = dialect::tractor) {
  msgpack::buffer out;
  encode(m, out, to);
  return hex(out.bytes());
}
// Through the wire and back.
template <class T>
T relay(const T& m, dialect to = dialect::coppice) {
  msgpack::buffer out;
  encode(m, out, to);
  return std::get<T>(decode(payload::take(std::move(out))));
}

TEST(Messages, AbsentOptionalKeysHaveTheirDefaults) {
  const auto a = std::get<aid>(decode(map_of(an_aid())));
  EXPECT_EQ(a, (aid{.name = "root", .uuid = "1", .pid = {}, .is_registrar = {}, .extensions = {}}));
  const auto s = std::get<start>(decode(map_of(a_start())));
  EXPECT_EQ(s.pld_spec, "typing.Any");
  const auto e = std::get<boxed_error>(decode(map_of(an_error())));
  EXPECT_FALSE(e.message || e.canceller || e.sender || e.cid);
  EXPECT_TRUE(e.bad_msg.is_nil() && e.bad_msg_as_dict.is_nil());
}

TEST(Messages, DefaultsAreAlwaysSent) {
  const aid a{.name = "n", .uuid = "u", .pid = {}, .is_registrar = {}, .extensions = {}};
  EXPECT_EQ(value(unhex_payload(sent(a))).text(),
            "{'msg_type': 'Aid', 'name': 'n', 'uuid': 'u', 'pid': None, 'is_registrar': None, "
            "'is_probe': False}");
}

TEST(Messages, UnknownKeysAreIgnored) {
  const auto s = std::get<start>(decode(map_of(with(a_start(), "priority", value::of(7)))));
  EXPECT_EQ(s.func, "f");
}

TEST(Messages, EveryRequiredKeyIsMissed) {
  for (const pairs& whole : {an_aid(), a_start(), an_error()}) {
    EXPECT_EQ(refusal(whole), "nothing thrown");
    for (std::size_t i = 1; i < whole.size(); ++i) {
      pairs part = whole;
      part.erase(part.begin() + static_cast<std::ptrdiff_t>(i));
      EXPECT_EQ(refusal(part), whole[0].second.as<std::string>() + ": the key '" + whole[i].first +
                                   "' is missing");
    }
  }
  EXPECT_EQ(refusal(pairs{{"msg_type", text("Return")}, {"cid", text("c")}}),
            "Return: the key 'pld' is missing");
}

TEST(Messages, WhatIsNotOneMessageIsRefusedInASentence) {
  EXPECT_EQ(refusal(pairs{{"cid", text("c")}}), "frame: the key 'msg_type' is missing");
  EXPECT_EQ(refusal(pairs{{"msg_type", text("Go")}}), "frame: 'Go' is not a msg_type");
  EXPECT_EQ(refusal(pairs{{"msg_type", value::of(5)}}),
            "frame: expected a str, found an integer (byte 10)");
  EXPECT_EQ(refusal(unhex_payload("9101")),
            "frame: expected a message, which is a map, found an array");
  EXPECT_EQ(refusal(unhex_payload("810101")), "frame: expected a str as key, found an integer");
  EXPECT_EQ(refusal(payload::copy_of({})),
            "frame: expected a message, which is a map, found nothing");
  pairs twice = a_start();
  twice.push_back({"cid", text("d")});
  EXPECT_EQ(refusal(twice), "Start: the key 'cid' is there twice");
  twice.back() = {"msg_type", text("Start")};
  EXPECT_EQ(refusal(twice), "Start: the key 'msg_type' is there twice");
  EXPECT_EQ(refusal(unhex_payload(hex(map_of(a_start())) + "c0c0")),
            "Start: 2 bytes follow the message");
}

TEST(Messages, AValueOfTheWrongTypeIsNamed) {
  EXPECT_EQ(refusal(with(a_start(), "cid", value::of(1))),
            "Start: cid: expected a str, found an integer (byte 20)");
  EXPECT_EQ(refusal(with(a_start(), "uid", text("root"))).substr(0, 48),
            "Start: uid: expected an array, found a str (byte");
  EXPECT_EQ(refusal(with(a_start(), "kwargs", text("x"))).substr(0, 48),
            "Start: kwargs: expected a map, found a str (byte");
  EXPECT_EQ(refusal(with(a_start(), "kwargs", value(unhex_payload("810101")))).substr(0, 54),
            "Start: kwargs: expected a str, found an integer (byte ");
  EXPECT_EQ(refusal(with(an_aid(), "pid", value::of(1.5))).substr(0, 47),
            "Aid: pid: expected an integer, found a float (b");
  EXPECT_EQ(
      refusal(with(an_error(), "relay_path", value(unhex_payload("9192a16101")))).substr(0, 57),
      "Error: relay_path[0][1]: expected a str, found an integer");
  EXPECT_EQ(refusal(with(an_error(), "_bad_msg", value::of(1))).substr(0, 48),
            "Error: _bad_msg: expected a map or nil, found an");
  EXPECT_EQ(
      refusal(pairs{{"msg_type", text("StartAck")}, {"cid", text("c")}, {"functype", text("x")}}),
      "StartAck: functype: expected asyncfunc, asyncgen or context (byte 34)");
  EXPECT_EQ(refusal(pairs{{"msg_type", text("CancelAck")}, {"cid", text("c")}, {"pld", value()}}),
            "CancelAck: pld: expected a bool, found nil (byte 30)");
}

TEST(Messages, TextMustBeUtf8) {
  const value bad(unhex_payload("a1ff"));
  EXPECT_EQ(refusal(with(a_start(), "func", bad)).substr(0, 37),
            "Start: func: the str is not UTF-8: se");
  EXPECT_EQ(refusal(with(a_start(), "kwargs", value(unhex_payload("81a1ff01")))).substr(0, 26),
            "Start: kwargs: the str is ");
  start s{.cid = "c", .ns = "m", .func = "\xff", .kwargs = to_kwargs(), .uid = {}};
  EXPECT_THROW(sent(s), message_type_error) << "a peer would end the connection for it";
}

TEST(Messages, PayloadsAreSlicesOfTheFrame) {
  const payload frame =
      map_of({{"msg_type", text("Return")}, {"cid", text("c")}, {"pld", a_uid()}});
  const auto r = std::get<returned>(decode(frame));
  EXPECT_EQ(r.pld.bytes().data() + r.pld.size(), frame.bytes().data() + frame.size());
  EXPECT_EQ(from_payload<uid>(r.pld).name, "root");
}

// Frames of the usual form, {msg_type, cid, pld}, are read in a shorter way than others.
template <class T>
void expect_same_both_ways(const std::string& cid, const payload& pld) {
  msgpack::buffer usual, longer;
  encode(T{cid, pld}, usual);
  msgpack::writer w(longer);
  w.map(4), w.raw(usual.bytes().subspan(1)), w.str("other"), w.nil();
  const auto a = std::get<T>(decode(payload::take(std::move(usual))));
  const auto b = std::get<T>(decode(payload::take(std::move(longer))));
  EXPECT_EQ(a, (T{cid, pld}));
  EXPECT_EQ(a, b);
}

TEST(Messages, TheUsualFormMeansWhatAnyFormMeans) {
  for (const std::size_t length : {0u, 1u, 31u, 32u, 36u, 255u, 256u, 70'000u}) {
    const std::string cid(length, 'c');
    for (const payload& pld : {payload(), to_payload(7), to_payload(cid),
                               to_payload(std::vector<std::string>{"a", cid})}) {
      expect_same_both_ways<yield>(cid, pld);
      expect_same_both_ways<returned>(cid, pld);
      expect_same_both_ways<started>(cid, pld);
    }
  }
}

TEST(Messages, TheUsualFormIsRefusedInTheSameWords) {
  msgpack::buffer out;
  encode(yield{"cid", to_payload(std::string("text"))}, out);
  const payload whole = payload::take(std::move(out));
  for (std::size_t n = 0; n < whole.size(); ++n)
    EXPECT_NE(refusal(payload::copy_of(whole.bytes().first(n))), "nothing thrown") << n;
  std::vector<std::byte> bytes(whole.bytes().begin(), whole.bytes().end());
  EXPECT_EQ(refusal(payload::copy_of(std::span(bytes).first(bytes.size() - 1))),
            "Yield: pld: expected a str of at least 5 bytes, found 4 (byte 28)");
  bytes.push_back(std::byte{0xc0});
  EXPECT_EQ(refusal(payload::copy_of(bytes)), "Yield: 1 bytes follow the message");
  bytes.pop_back();
  bytes[21] = std::byte{0xff};  // In the cid.
  EXPECT_NE(refusal(payload::copy_of(bytes)).find("not UTF-8"), std::string::npos);
}

TEST(Messages, APayloadOfTheUsualFormKeepsTheFrameAliveAndNothingElse) {
  const auto owner = std::make_shared<std::vector<std::byte>>();
  msgpack::buffer out;
  encode(yield{"cid", to_payload(7)}, out);
  owner->assign(out.bytes().begin(), out.bytes().end());
  auto y = std::get<yield>(decode(payload(owner, *owner)));
  EXPECT_EQ(owner.use_count(), 2);
  EXPECT_EQ(y.pld.bytes().data(), &owner->back());
  y.pld = payload();
  EXPECT_EQ(owner.use_count(), 1);
}

TEST(Messages, EveryTypeComesBackAsItWasSent) {
  EXPECT_EQ(relay(started{"c", to_payload(1)}), (started{"c", to_payload(1)}));
  EXPECT_EQ(relay(yield{"c", to_payload(2.5)}), (yield{"c", to_payload(2.5)}));
  EXPECT_EQ(relay(stop{"c"}), stop{"c"});
  EXPECT_EQ(relay(returned{"c", payload()}), (returned{"c", payload()}));
  EXPECT_EQ(relay(cancel_ack{"c", false}), (cancel_ack{"c", false}));
  EXPECT_EQ(relay(start_ack{"c", call_kind::asyncgen}), (start_ack{"c", call_kind::asyncgen}));
  const spawn_spec spec{.parent_main_data = to_kwargs(),
                        .runtime_vars = to_kwargs(kw("_debug_mode", false)),
                        .enable_modules = {{{"z", "/z.py"}, {"a", "/a.py"}}},
                        .reg_addrs = {tcp_address{"::1", 1616}, uds_address{"/run/x", "r@1.sock"}},
                        .bind_addrs = std::vector<wire_address>()};
  EXPECT_EQ(relay(spec), spec) << "modules keep their order";
  const start call{
      .cid = "c", .ns = "m", .func = "f", .kwargs = to_kwargs(kw("x", 1)), .uid = {"a", "b"}};
  EXPECT_EQ(relay(call), call);
}

TEST(Messages, AnAddressIsAHostAndPortOrADirectoryAndFile) {
  EXPECT_EQ(value::of(wire_address(tcp_address{"::1", 80})).text(), "['::1', 80]");
  EXPECT_EQ(value::of(wire_address(uds_address{"/d", "f"})).text(), "['/d', 'f']");
  const auto bad = [](std::string_view bytes) {
    return text_of<message_type_error>(
        [&] { (void)from_payload<wire_address>(unhex_payload(bytes)); });
  };
  EXPECT_EQ(bad("92a161c3"),
            "[1]: expected a port or the name of a socket file, found a bool (byte 3)");
  EXPECT_EQ(bad("92a161ce00010000"),
            "[1]: expected an integer from 0 to 65535, found 65536 (byte 3)");
  EXPECT_EQ(bad("93a1610102"), "expected an array of 2, found one of 3 (byte 0)");
}

TEST(Messages, AnAidMayAnnounceExtensions) {
  aid a{.name = "n", .uuid = "u", .pid = 1, .is_registrar = false, .extensions = {}};
  const std::string plain = sent(a);
  a.extensions = extensions{.v = 1, .ext = {"credit"}};
  const std::string extended = sent(a);
  EXPECT_EQ(value(unhex_payload(extended)).text(),
            "{'msg_type': 'Aid', 'name': 'n', 'uuid': 'u', 'pid': 1, 'is_registrar': False, "
            "'is_probe': False, 'coppice': {'v': 1, 'ext': ['credit']}}");
  EXPECT_EQ(extended.substr(2, plain.size() - 2), plain.substr(2)) << "one key more, at the end";
  EXPECT_EQ(relay(a), a);
}

remote_error_info a_group() {
  const uid here{"leaf", "7"};
  remote_error_info member{"ValueError", "ValueError", "boom", "tb", here, {here}, {}};
  remote_error_info inner{"ExceptionGroup", "ExceptionGroup", "inner", "", here, {here}, {member}};
  return {"ExceptionGroup", "ExceptionGroup", "two", "", here, {here}, {member, inner}};
}

TEST(Messages, MembersOfAGroupTravelToCoppicePeersOnly) {
  const boxed_error group = to_message(a_group(), "c");
  boxed_error bare = group;
  bare.members.clear();
  EXPECT_EQ(sent(group, dialect::tractor), sent(bare, dialect::tractor));
  EXPECT_EQ(sent(bare, dialect::coppice), sent(bare, dialect::tractor));

  const remote_error_info back = to_error_info(relay(group));
  ASSERT_EQ(back.members.size(), 2u);
  EXPECT_EQ(back.members[0].message, "boom");
  EXPECT_EQ(back.members[0].traceback, "tb");
  EXPECT_EQ(back.members[0].path.at(0).name, "leaf");
  EXPECT_EQ(back.members[1].members.at(0).type, "ValueError");
}

bad_message a_bad_message() {
  const payload bytes = to_payload(
      std::map<std::string, std::string>{{"msg_type", "Return"}, {"cid", "c7"}, {"pld", "yo"}});
  return {"Return", "int", "str", "c7", {bytes.bytes().begin(), bytes.bytes().end()}};
}

TEST(Messages, WhatBelongsToOneKindOfErrorTravels) {
  remote_error_info error = a_group();
  error.canceller = uid{"root", "1"};
  error.sender = uid{"fast", "2"};
  error.bad_msg = a_bad_message();
  error.members[1].members[0].canceller = uid{"root", "1"};
  error.members[0].bad_msg = a_bad_message();
  error.members[0].sender = uid{"fast", "2"};
  const remote_error_info back = to_error_info(relay(to_message(error, "c")));
  EXPECT_EQ(back.canceller, error.canceller);
  EXPECT_EQ(back.sender, error.sender);
  EXPECT_EQ(back.bad_msg, error.bad_msg);
  EXPECT_EQ(back.members.at(0).bad_msg, error.bad_msg);
  EXPECT_EQ(back.members.at(0).sender, error.sender);
  EXPECT_EQ(back.members.at(1).members.at(0).canceller, error.canceller);
}

TEST(Messages, ATractorPeersBadMessageNamesItself) {
  remote_error_info error = a_group();
  error.bad_msg = a_bad_message();
  const boxed_error there = relay(to_message(error, "c"), dialect::tractor);
  EXPECT_FALSE(there.mismatch) << "its protocol has no such key";
  bad_message expected = a_bad_message();
  expected.expected = expected.got = "";
  EXPECT_EQ(to_error_info(there).bad_msg, expected);
  boxed_error as_dict = there;
  std::swap(as_dict.bad_msg, as_dict.bad_msg_as_dict);
  EXPECT_EQ(to_error_info(relay(as_dict)).bad_msg, expected);
}

TEST(Messages, ABadMessageThatIsTooLargeIsNotKept) {
  boxed_error m = to_message(a_group(), "c");
  m.bad_msg = to_payload(
      std::map<std::string, std::string>{{"pld", std::string(bad_message_bytes_max, 'x')}});
  const remote_error_info back = to_error_info(relay(m));
  ASSERT_TRUE(back.bad_msg);
  EXPECT_TRUE(back.bad_msg->bytes.empty());
}

TEST(Messages, MembersBelowTheLimitAreDropped) {
  remote_error_info error;
  for (int i = 0; i < 1000; ++i) {
    remote_error_info outer;
    outer.message = std::to_string(i);
    outer.members.push_back(std::move(error));
    error = std::move(outer);
  }
  const boxed_error back = relay(to_message(std::move(error), {}));
  int depth = 0;
  for (const auto* m = &back.members; !m->empty(); m = &m->front().members) ++depth;
  EXPECT_EQ(depth, members_depth_max);
}

TEST(Messages, AnErrorGetsThroughWhateverItsTextIs) {
  remote_error_info error = a_group();
  error.message = "half a character: \xc3";
  error.traceback = "\xff\xfe and more";
  error.source.name = "\xf0\x90";
  error.members[0].message = "\x80";
  const remote_error_info back = to_error_info(relay(to_message(error, {})));
  EXPECT_EQ(back.message, "half a character: \xef\xbf\xbd");
  EXPECT_EQ(back.traceback, "\xef\xbf\xbd\xef\xbf\xbd and more");
  EXPECT_EQ(back.members[0].message, "\xef\xbf\xbd");
}

TEST(Messages, ErrorsComeBackAsTheyWereBoxed) {
  const uid leaf{"leaf", "7"}, callee{"callee", "8"};
  const remote_error_info error{
      "RemoteActorError", "ValueError", "m", "tb", leaf, {leaf, callee}, {}};
  const boxed_error m = to_message(error, "c");
  EXPECT_EQ(m.boxed_type_str, "RemoteActorError");
  EXPECT_EQ(m.src_type_str, "ValueError");
  EXPECT_EQ(m.cid, "c");
  const remote_error_info back = to_error_info(relay(m, dialect::tractor));
  EXPECT_EQ(back.type, error.type);
  EXPECT_EQ(back.source_type, error.source_type);
  EXPECT_EQ(back.message, error.message);
  EXPECT_EQ(back.traceback, error.traceback);
  EXPECT_EQ(back.source, leaf);
  EXPECT_EQ(back.path, error.path);
  const auto silent = std::get<boxed_error>(decode(map_of(an_error())));
  EXPECT_EQ(to_error_info(silent).message, "") << "a nil message is an empty one";
}

TEST(Messages, WhatCannotBeSentLeavesTheBufferAsItWas) {
  msgpack::buffer out;
  encode_frame(stop{"first"}, out);
  const std::string before = hex(out.bytes());
  start s{.cid = "c", .ns = "m", .func = "f", .kwargs = payload(), .uid = {}};
  EXPECT_EQ(text_of<message_type_error>([&] { encode_frame(s, out); }),
            "kwargs must be a map of names to values");
  s.kwargs = to_kwargs();
  s.pld_spec = "\xff";
  EXPECT_THROW(encode(s, out), message_type_error);
  EXPECT_EQ(hex(out.bytes()), before);
}

TEST(Messages, FramesAreAppendedOneAfterTheOther) {
  msgpack::buffer out;
  encode_frame(stop{"a"}, out);
  const std::size_t first = out.size();
  encode_frame(stop{"b"}, out);
  EXPECT_EQ(frame_length(out.bytes().first<4>()), first - frame_header_bytes);
  EXPECT_EQ(hex(out.bytes().subspan(first, 4)), "15000000");
  EXPECT_EQ(out.size(), 2 * first);
}

TEST(Messages, ADeepPayloadCostsItsCallAndNotTheConnection) {
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "91";
  const auto r = std::get<returned>(decode(map_of({{"msg_type", text("Return")},
                                                   {"cid", text("c")},
                                                   {"pld", value(unhex_payload(deep + "c0"))}})));
  EXPECT_EQ(r.pld.size(), 100'001u);
  EXPECT_NE(value(r.pld).text().find("nested more than 512 deep"), std::string::npos);
}

TEST(Messages, AnEnvelopeBeyondTheDepthLimitIsRefused) {
  std::string members;
  for (int i = 0; i < 100'000; ++i)
    members += "9181af" + hex(std::as_bytes(std::span("coppice_members", 15)));
  EXPECT_EQ(text_of<limit_exceeded>([&] {
              (void)decode(
                  map_of(with(an_error(), "coppice_members", value(unhex_payload(members + "90")))),
                  5);
            }).substr(0, 97),
            "Error: coppice_members[0].coppice_members[0].coppice_members: nested more than 5 "
            "deep, which is d");
}

TEST(Messages, SayTheirTypeAndTheirCall) {
  EXPECT_EQ(type_name(aid{}), "Aid");
  EXPECT_EQ(type_name(returned{}), "Return");
  EXPECT_EQ(type_name(boxed_error{}), "Error");
  EXPECT_EQ(cid_of(message(aid{})), nullptr);
  EXPECT_EQ(cid_of(message(boxed_error{})), nullptr);
  const message m = stop{"c"};
  EXPECT_EQ(*cid_of(m), "c");
}

}  // namespace
}  // namespace coppice::msg
