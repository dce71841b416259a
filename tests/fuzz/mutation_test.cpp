// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "coppice/errors.hpp"
#include "coppice/value.hpp"
#include "golden_frames.hpp"
#include "msg/messages.hpp"

// Here's how it works: a recorded frame is damaged a few times over (bytes changed, cut out,
// doubled, taken from another frame, lengths blown up) and decoded. Whatever comes of it must be a
// message or a typed error; a message must encode to bytes that decode to the same bytes again.
// What a crash or a read past the end would be is seen by the sanitizers: run this test under the
// asan preset.

namespace coppice::msg {
namespace {

constexpr std::uint64_t seed = 20'260'801;  // The same frames on every run.
constexpr int rounds = 200'000;

class random {  // xorshift64*: the same numbers everywhere.
 public:
  explicit random(std::uint64_t from) : state_(from) {}
  std::size_t below(std::size_t n) {
    state_ ^= state_ >> 12, state_ ^= state_ << 25, state_ ^= state_ >> 27;
    return static_cast<std::size_t>((state_ * 0x2545'f491'4f6c'dd1dULL >> 33) % n);
  }

 private:
  std::uint64_t state_;
};

using bytes = std::vector<std::byte>;

void damage(bytes& frame, const bytes& other, random& dice) {
  const auto at = [&](std::size_t i) { return frame.begin() + static_cast<std::ptrdiff_t>(i); };
  if (frame.empty()) return frame.push_back(static_cast<std::byte>(dice.below(256)));
  const std::size_t from = dice.below(frame.size());
  const std::size_t size = 1 + dice.below(std::min<std::size_t>(frame.size() - from, 12));
  // Bytes that are headers: containers, lengths, every width of number.
  constexpr unsigned char heads[] = {0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc4, 0xc6,
                                     0xc7, 0xc9, 0xca, 0xcb, 0xcc, 0xcf, 0xd0, 0xd3, 0xd4, 0xd8,
                                     0xd9, 0xda, 0xdb, 0xdc, 0xdd, 0xde, 0xdf, 0xe0, 0xff, 0x7f};
  switch (dice.below(7)) {
    case 0:
      frame[from] ^= static_cast<std::byte>(1u << dice.below(8));
      break;
    case 1:
      frame[from] = static_cast<std::byte>(dice.below(256));
      break;
    case 2:
      frame[from] = static_cast<std::byte>(heads[dice.below(std::size(heads))]);
      break;
    case 3:
      frame.erase(at(from), at(from + size));
      break;
    case 4:
      frame.resize(from);
      break;
    case 5: {
      const bytes copy(at(from), at(from + size));
      frame.insert(at(dice.below(frame.size())), copy.begin(), copy.end());
      break;
    }
    case 6: {
      const std::size_t there = dice.below(other.size());
      const std::size_t n = std::min({size, other.size() - there, frame.size() - from});
      std::copy_n(other.begin() + static_cast<std::ptrdiff_t>(there), n, at(from));
      break;
    }
  }
}

std::string encoded(const message& m) {
  msgpack::buffer out;
  encode(m, out, dialect::coppice);
  return {reinterpret_cast<const char*>(out.data()), out.size()};
}

// Decodes what may be anything into types of every kind: an answer or a typed error, as well.
struct anything {
  std::string name;
  std::vector<std::map<std::string, value>> list;
  std::optional<double> number;
  std::tuple<int, std::string_view> pair;
};
template <class T>
bool fits(const payload& p) try {
  (void)from_payload<T>(p);
  return true;
} catch (const error&) {
  return false;
}

TEST(Mutation, ADamagedFrameGivesAMessageOrATypedError) {
  std::vector<bytes> originals;
  for (const auto& f : golden_frames()) {
    const payload body = f.body();
    originals.emplace_back(body.bytes().begin(), body.bytes().end());
  }
  random dice(seed);
  int messages = 0, refused = 0;
  for (int round = 0; round < rounds; ++round) {
    bytes frame = originals[dice.below(originals.size())];
    for (std::size_t n = 1 + dice.below(2); n > 0; --n) {
      damage(frame, originals[dice.below(originals.size())], dice);
    }
    // A block of exactly this size: one byte too far is seen.
    const payload p = payload::copy_of(frame);
    try {
      const message m = decode(p);
      ++messages;
      const std::string once = encoded(m);
      const message back = decode(payload::copy_of(std::as_bytes(std::span(once))));
      ASSERT_EQ(back.index(), m.index()) << hex(p);
      ASSERT_EQ(encoded(back), once) << "seed " << seed << ", round " << round << ": " << hex(p);
    } catch (const protocol_error&) {
      ++refused;
    } catch (const limit_exceeded&) {
      ++refused;
    }  // Anything else fails the test.
    switch (round % 4) {  // As what an application might expect; most do not fit.
      case 0:
        (void)fits<anything>(p);
        break;
      case 1:
        (void)fits<std::vector<int>>(p);
        break;
      case 2:
        (void)fits<std::map<std::string, value>>(p);
        break;
      case 3:
        (void)value(p).text(200);
        break;
    }
  }
  EXPECT_GT(messages, rounds / 10) << "too much damage finds nothing";
  EXPECT_GT(refused, rounds / 10) << "too little damage finds nothing";
}

}  // namespace
}  // namespace coppice::msg
