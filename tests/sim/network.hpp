// SPDX-License-Identifier: Apache-2.0
// A network on virtual time: delays, dropped connections, half-open ones, slow readers.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/loop.hpp"
#include "dice.hpp"
#include "ipc/link.hpp"
#include "journal.hpp"

namespace coppice::sim {

class wire;

/// What messages meet on their way, in one run.
struct weather {
  duration delay_max = std::chrono::milliseconds(5);
  int spikes_percent = 0;  // Of the messages: late by up to spike_max.
  duration spike_max = duration::zero();
};

/// Connections between simulated actors, each between a child and its parent, known by the child's
/// uuid. Promises:
/// - What ipc/link.hpp promises: on_connected first, messages of a connection in order, on_closed
///   last and once; messages of different connections overtake each other.
/// - Every message travels as the bytes of its frame.
/// - A connection that breaks is noticed by both ends, each at its own time, at most
///   `notice_max` later; one that swallows one direction breaks within `half_open_max`.
/// - The ends of a killed actor send nothing more and are told nothing; what it had sent arrives.
///
/// Owner: the run; outlives its connections. Thread: the loop's.
class network {
 public:
  static constexpr duration notice_max = std::chrono::milliseconds(1500);
  static constexpr duration half_open_max = std::chrono::milliseconds(2500);
  static constexpr duration stall_max = std::chrono::milliseconds(1200);

  /// What the run has to know of an actor, by its uuid.
  struct observer {
    /// Its connection to its parent has ended, and it is about to be told; or somebody sends it the
    /// request to end.
    std::function<void(const std::string&)> on_ending;
    std::function<void(const std::string&)> on_lost;  // Its parent is about to be told of that.
  };

  network(core::loop& loop, journal& trace, dice luck, weather w, observer watch);
  ~network();
  network(const network&) = delete;
  network& operator=(const network&) = delete;

  /// `failed` is called instead of the child's on_connected() if the handshake does not end well.
  void connect(const msg::aid& child, std::shared_ptr<ipc::link_sink> child_sink,
               const msg::aid& parent, std::shared_ptr<ipc::link_sink> parent_sink,
               std::function<void(std::string why)> failed);
  /// The actor was killed: so its connections are.
  void kill(const std::string& uuid);

  // --- faults of a child's connection; nothing if there is none ---
  void cut(const std::string& child);
  void make_half_open(const std::string& child);  // One direction swallows, until it is noticed.
  void stall(const std::string& child);           // One direction is not read for a while.

  /// Does every message arrive soon?
  bool is_prompt() const { return weather_.spikes_percent == 0 && !stalled_; }
  /// Was its connection ever broken by cut(), make_half_open() or kill(), at either end?
  bool was_hurt(const std::string& child) const;
  std::vector<std::string> open() const;      // Connections that have not ended.
  std::size_t left() const { return left_; }  // Connections of which anything is left.

 private:
  friend class wire;
  struct known {
    std::weak_ptr<wire> connection;
    bool hurt = false;
  };
  std::shared_ptr<wire> find(const std::string& child) const;
  duration delay(dice& luck) const;

  core::loop& loop_;
  journal& trace_;
  const dice luck_;
  const weather weather_;
  const observer watch_;
  std::map<std::string, known> known_;  // By the child's uuid; the ended ones too.
  std::size_t left_ = 0;
  bool stalled_ = false;
};

}  // namespace coppice::sim
