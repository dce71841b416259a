// SPDX-License-Identifier: Apache-2.0
// One end of a dialog: what has arrived and is not taken yet, and what may still be sent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ipc/link.hpp"
#include "port/value_queue.hpp"

namespace coppice::port {

/// A served call or a request of ours: a dialog is one of these.
using dialog_id = std::uint64_t;

/// How much of a stream lies here, arrived and not taken, before the other side has to wait.
struct stream_window {
  std::uint32_t messages = 64;     // tractor's size, for peers that know no credit.
  std::uint64_t bytes = 2u << 20;  // One message more than that fits always.
};

/// What send() came to.
enum class send_outcome : std::uint8_t {
  sent,
  full,     // The other side takes no more yet: `dialog_changed::writable` will follow.
  stopped,  // This side has closed the stream, or has taken its end.
  over,     // The dialog has ended, or its connection has.
};

/// What whoever uses a dialog may want to know of it.
struct dialog_look {
  std::string cid;
  bool is_over = false;       // What it ended with is known here, or on its way to its caller.
  bool knows_credit = false;  // The other side does.
};

/// What take() came to.
struct taken {
  enum class kind : std::uint8_t {
    value,
    nothing,  // Now: `dialog_changed::readable` will follow.
    end,      // No more will come.
  };
  kind what = kind::nothing;
  payload value;
};

/// The two halves of a stream, without links or messages. Promises:
/// - Between peers that know credit nothing is lost and nobody overruns: a side sends only what the
///   other has room for, and room comes back as values are taken.
/// - From a peer that knows none, tractor's rules: at most `window.messages` lie here, the next one
///   is an overrun, unless overruns are allowed. Then `overflow_max` more are kept, and after that
///   the oldest of those makes room.
/// - What lies here can be taken after the dialog has ended.
///
/// Owner: a call_table. Thread: one at a time.
class dialog {
 public:
  static constexpr std::size_t overflow_max = 616;  // tractor's.

  dialog(ipc::link_ptr peer, std::string id, bool callee, stream_window window);

  // --- the receiving half ---
  enum class arrival : std::uint8_t {
    kept,
    late,     // Closed, by whomever: dropped.
    overrun,  // No room, and it came all the same: dropped.
  };
  arrival arrived(payload value);
  /// The same for all of them if each would be kept. False: nothing has happened.
  bool all_arrived(std::vector<payload>& values);
  taken take();
  /// Its user reads from now on: the window may grow. The credit to give, if the peer knows any.
  std::optional<msg::credit> open(stream_window window, bool allow_overruns);
  /// After take(): is it time to give credit?
  bool owes_credit() const noexcept;
  /// Credit for all that there is room for. REQUIRES: the peer knows credit.
  msg::credit grant();
  /// What StartAck or Start tells the other side to begin with.
  msg::stream_credit first_credit() const { return {window_.messages, window_.bytes}; }
  bool readable() const noexcept { return !kept_.empty() || no_more_comes(); }
  std::size_t kept_bytes() const noexcept { return kept_bytes_; }

  // --- the sending half ---
  /// The peer knows credit, and gave this to begin with.
  void peer_gives(const msg::stream_credit& first);
  /// False: nobody waits for it.
  bool credited(const msg::credit& more);
  bool may_send();  // False is remembered: the next credit is news.
  void sent(std::size_t bytes) noexcept;
  bool peer_credits() const noexcept { return peer_credits_; }
  /// Has the other side opened its stream, as far as one can know?
  bool peer_opened() const noexcept { return !peer_credits_ || peer_opened_; }

  // --- the end ---
  void peer_stopped() noexcept { peer_stopped_ = true; }
  void stop() noexcept { stopped_ = true; }
  void end() noexcept { over_ = true; }
  /// This side is done: it has closed the stream, or knows that the other has. Until it has taken
  /// that end it may send, and what it sends is dropped: how far it has read must not decide
  /// whether its next value is an error.
  bool is_stopped() const noexcept { return stopped_ || end_taken_; }
  bool has_peer_stopped() const noexcept { return peer_stopped_; }
  bool is_over() const noexcept { return over_; }

  const ipc::link_ptr link;
  const std::string cid;
  const bool is_callee;
  bool has_started = false;  // The callee has said its first word.
  msg::call_kind functype = msg::call_kind::context;

 private:
  bool no_more_comes() const noexcept { return peer_stopped_ || over_; }

  stream_window window_;
  bool opened_ = false;
  bool allow_overruns_ = false;
  value_queue kept_;
  std::size_t kept_bytes_ = 0;
  // What the peer may still send, as it knows it: given, less arrived. Bytes may fall below zero.
  std::int64_t room_messages_, room_bytes_;

  bool peer_credits_ = false;
  bool peer_opened_ = false;
  bool wants_room_ = false;
  std::int64_t may_send_messages_ = 0, may_send_bytes_ = 0;

  bool stopped_ = false, peer_stopped_ = false, over_ = false;
  bool end_taken_ = false;  // Of the two halves: take() has given the peer's Stop.
};

}  // namespace coppice::port
