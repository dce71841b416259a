// SPDX-License-Identifier: Apache-2.0
#include "port/dialog.hpp"

#include <algorithm>
#include <utility>

namespace coppice::port {

namespace {
// Credit goes back when half of a window has become free: seldom enough to cost little, soon enough
// that a sender who keeps up never waits.
constexpr std::int64_t share = 2;
}  // namespace

dialog::dialog(ipc::link_ptr peer, std::string id, bool callee, stream_window window)
    : link(std::move(peer)),
      cid(std::move(id)),
      is_callee(callee),
      window_(window),
      room_messages_(window.messages),
      room_bytes_(static_cast<std::int64_t>(window.bytes)) {}

dialog::arrival dialog::arrived(payload value) {
  if (no_more_comes() || stopped_) return arrival::late;
  const auto bytes = value.size();
  if (peer_credits_) {
    if (room_messages_ <= 0) return arrival::overrun;
    --room_messages_;
    room_bytes_ -= static_cast<std::int64_t>(bytes);
  } else if (kept_.size() >= window_.messages ||
             (!kept_.empty() && kept_bytes_ + bytes > window_.bytes)) {
    if (!allow_overruns_) return arrival::overrun;
    if (kept_.size() >= window_.messages + overflow_max) {
      const payload oldest = kept_.pop_at(window_.messages);
      kept_bytes_ -= oldest.size();
    }
  }
  kept_bytes_ += bytes;
  kept_.push(std::move(value));
  return arrival::kept;
}

bool dialog::all_arrived(std::vector<payload>& values) {
  const auto n = static_cast<std::int64_t>(values.size());
  if (!peer_credits_ || room_messages_ < n || no_more_comes() || stopped_) return false;
  std::size_t bytes = 0;
  for (const payload& v : values) bytes += v.size();
  room_messages_ -= n;
  room_bytes_ -= static_cast<std::int64_t>(bytes);
  kept_bytes_ += bytes;
  kept_.push(std::move(values));
  return true;
}

taken dialog::take() {
  if (kept_.empty()) {
    end_taken_ = end_taken_ || peer_stopped_;
    return {no_more_comes() ? taken::kind::end : taken::kind::nothing, payload()};
  }
  taken t{taken::kind::value, kept_.pop()};
  kept_bytes_ -= t.value.size();
  return t;
}

std::optional<msg::credit> dialog::open(stream_window window, bool allow_overruns) {
  window_ = window;
  allow_overruns_ = allow_overruns;
  if (std::exchange(opened_, true) || !peer_credits_ || no_more_comes()) return std::nullopt;
  return grant();  // Even if it gives nothing more: it tells that the stream is read.
}

bool dialog::owes_credit() const noexcept {
  if (!opened_ || !peer_credits_ || stopped_ || no_more_comes()) return false;
  const auto kept = static_cast<std::int64_t>(kept_.size());
  const auto messages = static_cast<std::int64_t>(window_.messages);
  const auto bytes = static_cast<std::int64_t>(window_.bytes);
  return room_messages_ + kept <= messages - std::max<std::int64_t>(messages / share, 1) ||
         room_bytes_ + static_cast<std::int64_t>(kept_bytes_) <= bytes - bytes / share;
}

msg::credit dialog::grant() {
  const auto more_messages =
      window_.messages - room_messages_ - static_cast<std::int64_t>(kept_.size());
  const auto more_bytes = static_cast<std::int64_t>(window_.bytes) - room_bytes_ -
                          static_cast<std::int64_t>(kept_bytes_);
  msg::credit given{cid, static_cast<std::uint32_t>(std::max<std::int64_t>(more_messages, 0)),
                    static_cast<std::uint64_t>(std::max<std::int64_t>(more_bytes, 0))};
  room_messages_ += given.n;
  room_bytes_ += static_cast<std::int64_t>(given.bytes);
  return given;
}

void dialog::peer_gives(const msg::stream_credit& first) {
  peer_credits_ = true;
  may_send_messages_ = first.messages;
  // Beyond what anybody has: a window without a limit.
  may_send_bytes_ = static_cast<std::int64_t>(std::min<std::uint64_t>(first.bytes, 1ull << 48));
}

bool dialog::credited(const msg::credit& more) {
  constexpr std::int64_t most = 1ll << 48;
  peer_opened_ = true;
  may_send_messages_ = std::min(may_send_messages_ + more.n, most);
  may_send_bytes_ += static_cast<std::int64_t>(std::min<std::uint64_t>(more.bytes, 1ull << 48));
  may_send_bytes_ = std::min(may_send_bytes_, most);
  const bool enough = may_send_messages_ > 0 && may_send_bytes_ > 0;
  return enough && std::exchange(wants_room_, false);
}

bool dialog::may_send() {
  if (!peer_credits_ || (may_send_messages_ > 0 && may_send_bytes_ > 0)) return true;
  wants_room_ = true;
  return false;
}

void dialog::sent(std::size_t bytes) noexcept {
  if (!peer_credits_) return;
  --may_send_messages_;
  may_send_bytes_ -= static_cast<std::int64_t>(bytes);
}

}  // namespace coppice::port
