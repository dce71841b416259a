// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "coppice/errors.hpp"
#include "golden_frames.hpp"
#include "msg/messages.hpp"

// Our bytes against those of a real tractor tree, both ways: what it sent is understood, and what
// we would send in its place is the same, byte for byte.

namespace coppice::msg {
namespace {

// Writes a msgpack value as Python's json.dumps would: an independent decoder's view of the frame.
class json_printer {
 public:
  static std::string print(const payload& p) {
    msgpack::reader r(p);
    json_printer printer;
    printer.value(r);
    r.finish();
    return printer.text_;
  }

 private:
  void value(msgpack::reader& r) {
    const msgpack::token t = r.next();
    switch (t.what) {
      case msgpack::kind::nil:
        text_ += "null";
        break;
      case msgpack::kind::boolean:
        text_ += t.boolean ? "true" : "false";
        break;
      case msgpack::kind::integer:
        text_ += std::to_string(static_cast<std::int64_t>(t.integer));
        break;
      case msgpack::kind::number: {
        char digits[32];
        std::snprintf(digits, sizeof digits, "%g", t.number);
        text_ += digits;
        break;
      }
      case msgpack::kind::str:
        string(t.bytes);
        break;
      case msgpack::kind::bin:
        text_ += "{\"$bytes\": \"" + hex(t.bytes) + "\"}";
        break;
      case msgpack::kind::array:
        text_ += '[';
        for (std::size_t i = 0; i < t.count; ++i) text_ += i != 0 ? ", " : "", value(r);
        text_ += ']';
        break;
      case msgpack::kind::map:
        text_ += '{';
        for (std::size_t i = 0; i < t.count; ++i) {
          text_ += i != 0 ? ", " : "", value(r);
          text_ += ": ", value(r);
        }
        text_ += '}';
        break;
      default:
        text_ += "?";
        break;
    }
  }
  void string(std::span<const std::byte> bytes) {
    text_ += '"';
    for (const std::byte b : bytes) {
      const char c = static_cast<char>(b);
      if (c == '"' || c == '\\') text_ += '\\';
      c == '\n' ? text_ += "\\n" : text_ += c;
    }
    text_ += '"';
  }

  std::string text_;
};

std::string again(const payload& body) {
  msgpack::buffer out;
  encode_frame(decode(body), out);
  return hex(out.bytes());
}

// The same map with its pairs in the opposite order.
payload reversed(const payload& body) {
  msgpack::reader r(body);
  std::vector<std::span<const std::byte>> pairs;
  for (std::size_t n = r.map(); n > 0; --n) {
    const std::byte* from = body.bytes().data() + r.offset();
    r.skip(), r.skip();
    pairs.emplace_back(from, body.bytes().data() + r.offset());
  }
  msgpack::buffer out;
  msgpack::writer w(out);
  w.map(pairs.size());
  for (auto pair = pairs.rbegin(); pair != pairs.rend(); ++pair) w.raw(*pair);
  return payload::take(std::move(out));
}

TEST(GoldenFrames, AllOfThemAreThere) {
  const auto frames = golden_frames();
  ASSERT_EQ(frames.size(), 85u);
  std::vector<int> types(std::variant_size_v<message>);
  for (const auto& f : frames) ++types[decode(f.body()).index()];
  const std::size_t tractors = message(credit()).index();  // Ours come behind them.
  for (std::size_t i = 0; i < tractors; ++i) EXPECT_GT(types[i], 0) << "every type is among them";
}

TEST(GoldenFrames, TheLengthIsThatOfTheBody) {
  for (const auto& f : golden_frames()) {
    EXPECT_EQ(frame_length(f.all.bytes().first<frame_header_bytes>()), f.body().size()) << f.number;
  }
}

TEST(GoldenFrames, OurReaderSeesWhatPythonSaw) {
  for (const auto& f : golden_frames()) {
    EXPECT_EQ(json_printer::print(f.body()), f.message) << f.number;
  }
}

TEST(GoldenFrames, AreEncodedAgainByteForByte) {
  for (const auto& f : golden_frames()) EXPECT_EQ(again(f.body()), hex(f.all)) << f.number;
}

TEST(GoldenFrames, MeanTheSameWithTheirKeysInAnyOrder) {
  for (const auto& f : golden_frames())
    EXPECT_EQ(again(reversed(f.body())), hex(f.all)) << f.number;
}

// The comparisons above can fail: a change in any value is either refused or comes out different.
TEST(GoldenFrames, AChangedValueNeverComesOutAsTheRecordedFrame) {
  for (const auto& f : golden_frames()) {
    const payload body = f.body();
    msgpack::reader r(body);
    for (std::size_t n = r.map(); n > 0; --n) {
      r.skip();  // The key: a changed one is unknown, hence ignored.
      const std::size_t from = r.offset();
      r.skip();
      for (std::size_t i = from; i < r.offset(); ++i) {
        std::vector<std::byte> bytes(body.bytes().begin(), body.bytes().end());
        bytes[i] ^= std::byte{0x01};
        try {
          EXPECT_NE(again(payload::copy_of(bytes)), hex(f.all)) << f.number << " at byte " << i;
        } catch (const error&) {
        }
      }
    }
  }
}

TEST(GoldenFrames, AMissingByteAtTheEndIsRefused) {
  for (const auto& f : golden_frames()) {
    const payload body = f.body();
    EXPECT_THROW(decode(body.slice(body.bytes().first(body.size() - 1))), protocol_error)
        << f.number;
  }
}

TEST(GoldenFrames, SayWhatTheyAreKnownToSay) {
  const auto frames = golden_frames();
  const auto aid0 = std::get<aid>(decode(frames[0].body()));
  EXPECT_EQ(aid0.name, "root");
  EXPECT_EQ(aid0.pid, 12411);
  EXPECT_EQ(aid0.is_registrar, true);
  EXPECT_FALSE(aid0.extensions) << "a tractor peer is none of us";
  const auto spec = std::get<spawn_spec>(decode(frames[2].body()));
  EXPECT_EQ(spec.enable_modules.list.at(0),
            (std::pair<std::string, std::string>("appmod", "/srv/app/appmod.py")));
  EXPECT_EQ(spec.reg_addrs, (std::vector<wire_address>{tcp_address{"127.0.0.1", 16161}}));
  EXPECT_FALSE(spec.bind_addrs);
  const auto call = std::get<start>(decode(frames[5].body()));
  EXPECT_EQ(call.func, "add");
  EXPECT_EQ((from_payload<std::map<std::string, int>>(call.kwargs)),
            (std::map<std::string, int>{{"x", 1}, {"y", 2}}));
  EXPECT_EQ(std::get<start_ack>(decode(frames[28].body())).functype, call_kind::context);
  const auto cancelled = std::get<boxed_error>(decode(frames[43].body()));
  EXPECT_EQ(cancelled.src_type_str, "ContextCancelled");
  EXPECT_EQ(cancelled.canceller.value().name, "root");
  const auto relayed = std::get<boxed_error>(decode(frames[68].body()));
  EXPECT_EQ(relayed.boxed_type_str, "RemoteActorError");
  ASSERT_EQ(relayed.relay_path.size(), 2u);
  EXPECT_EQ(relayed.relay_path[1].name, "callee");
}

}  // namespace
}  // namespace coppice::msg
