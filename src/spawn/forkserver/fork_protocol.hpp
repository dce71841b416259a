// SPDX-License-Identifier: Apache-2.0
// What a runtime asks of its zygote, and what that answers. Both are the same build of Coppice.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "spawn/forkserver/packet.hpp"

namespace coppice::spawn {

/// A child that is wanted. Travels in memory, as a descriptor: an environment may be large.
struct fork_order {
  std::uint64_t number = 0;  // Chosen by who orders; the answers have it.
  std::string uid;           // As on the command line of a process child: "('name', 'uuid')".
  std::string parent_address;
  std::string cwd;                       // Empty: the zygote's.
  std::vector<std::string> environment;  // "NAME=value", the whole of it.
  bool in_guest = false;                 // The actor is to run in a sub-interpreter of the child.
  bool shared_gil = false;               // Which one, then.
};

enum class zygote_news : std::uint8_t {
  ready,    // It has preloaded and serves. Number 0; to the one that started it.
  refuses,  // It cannot serve; `text` says why. Number 0; it ends then.
  forked,   // `pid`, and the packet has a pidfd.
  failed,   // There is no such child; `text` says why.
  ended,    // `code` and `status` as waitid(2) has them.
};

struct zygote_answer {
  zygote_news news = zygote_news::ready;
  std::uint64_t number = 0;
  std::int32_t pid = 0;
  std::int32_t code = 0;
  std::int32_t status = 0;
  std::string text = {};
};

packet pack(const fork_order& order);  // Throws std::system_error.
packet pack(const zygote_answer& answer);
/// Nothing: it is no such packet.
std::optional<fork_order> order_in(const packet& p);
std::optional<zygote_answer> answer_in(const packet& p);

}  // namespace coppice::spawn
