// SPDX-License-Identifier: Apache-2.0
// A stranger does what it likes, in any order: Aids whole and in parts, probes, other messages,
// garbage, silence, the end; and so does the link's own side. Each input byte is a step.
#include <chrono>
#include <map>
#include <optional>
#include <string>

#include "coppice/testkit/fake_clock.hpp"
#include "leashed_link.hpp"

namespace coppice::fuzz {
namespace {

using std::chrono::milliseconds;

constexpr ipc::limits small{.frame_bytes_max = 4'000,
                            .aid_bytes_max = 300,
                            .queued_bytes_max = 300'000,
                            .handshake_within = milliseconds(1'000)};
constexpr std::size_t steps_max = 32;

struct world {
  testkit::fake_clock time;  // Stands still unless a step moves it.
  std::shared_ptr<core::loop> loop =
      std::make_shared<core::loop>(core::loop_options{.time = &time});
};

msg::message message_of(input& in) {
  const std::string cid(1, static_cast<char>('a' + in.below(4)));
  switch (in.below(8)) {
    case 0:
      return msg::start{cid, "mod", "f", to_payload(std::map<std::string, int>()), {"a", "b"}};
    case 1:
      return msg::returned{cid, payload()};
    case 2:
      return msg::yield{cid, to_payload(std::string(in.two_bytes() % 5'000, 'x'))};
    case 3:
      return msg::boxed_error{};
    case 4:
      return msg::stop{cid};
    case 5:
      return msg::cancel_ack{cid, true};
    case 6:
      return msg::start{cid, "\xff", "f", payload(), {}};  // Not to be sent at all.
    default:
      return aid_of(cid, in.below(2) != 0);
  }
}

std::string aid_frame(input& in) {
  msg::aid a = aid_of(in.text(in.below(8)), in.below(2) != 0);
  a.is_probe = in.below(4) == 3;
  try {
    return frame_of(a);
  } catch (const message_type_error&) {  // The name was no UTF-8.
    return frame_of(aid_of("peer", true));
  }
}

std::string framed(std::string body, std::size_t length) {
  std::string out;
  for (int i = 0; i < 4; ++i) out += static_cast<char>(length >> (8 * i) & 0xff);
  return out + std::move(body);
}

std::string frame_of_steps(input& in) {
  try {
    return frame_of(message_of(in));
  } catch (const message_type_error&) {
    return "x";
  }
}

void peers_step(leashed_link& leash, input& in, std::string& held) {
  switch (in.below(9)) {
    case 0:
      leash.send(aid_frame(in));
      break;
    case 1:
      leash.send(frame_of_steps(in));
      break;
    case 2: {
      const std::string body = in.text(in.byte());
      leash.send(framed(body, body.size()));
      break;
    }
    case 3:
      leash.send(framed("", in.two_bytes()));
      break;
    case 4:
      leash.send(in.text(in.byte()));
      break;
    case 5:  // An Aid in parts: the rest is sent by later steps of this kind.
      if (held.empty()) held = aid_frame(in);
      leash.send(held.substr(0, 1 + in.below(40)));
      held.erase(0, std::min<std::size_t>(held.size(), 40));
      break;
    case 6:
      leash.read(in.two_bytes());
      break;
    case 7:
      leash.shut_down();
      break;
    default:
      leash.close_peer();
  }
}

void own_step(leashed_link& leash, world& w, input& in) {
  switch (in.below(4)) {
    case 0:
      w.time.advance(milliseconds(in.byte() * 4));
      break;
    case 1:
      leash.link->send(message_of(in), ipc::urgency::now);
      break;
    case 2:
      leash.link->close("enough");
      break;
    default:  // Nothing: a turn of the loop.
      break;
  }
}

task<> run(world& w, input in) {
  std::optional<leashed_link> leash;
  leash.emplace(w.loop, small);
  const auto bound = w.time.now() + small.handshake_within;
  std::string held;
  for (std::size_t i = 0; i < steps_max && !in.empty(); ++i) {
    const bool was_over = leash->is_over();
    const std::size_t before = leash->sink->messages.size();
    if (in.below(2) != 0)
      peers_step(*leash, in, held);
    else
      own_step(*leash, w, in);
    co_await checkpoint();
    COPPICE_ASSERT(!was_over || leash->sink->messages.size() == before, "the end is the end");
    COPPICE_ASSERT(leash->done == 1 || w.time.now() < bound, "no handshake outlives its bound");
    (void)leash->link->describe();
  }
  co_await expect_released(leash);
}

}  // namespace
}  // namespace coppice::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace coppice;
  static fuzz::world w;
  w.loop->run(fuzz::run(w, fuzz::input(data, size)));
  COPPICE_ASSERT(w.loop.use_count() == 1, "something kept the loop");
  return 0;
}
