// SPDX-License-Identifier: Apache-2.0
#include "ipc/memory_link.hpp"

#include <deque>
#include <mutex>
#include <string>
#include <utility>

namespace coppice::ipc {

namespace {

class memory_link;

/// What the two ends share: who receives on each side, and whether it is over.
struct memory_pair {
  struct held_message {
    msg::message message;
    urgency how;
  };
  // tidy: allow lock: two actors' threads send, close and connect at once
  std::mutex mutex;  // Guards the rest.
  bool closed = false;
  struct side {
    std::shared_ptr<memory_link> end;  // Cleared by the close: breaks the cycle.
    std::shared_ptr<link_sink> sink;   // Likewise.
    // Has it been told of its link? Until then messages wait here: the other side may answer
    // on_connected() from another thread before this one has heard of anything.
    bool open = false;
    std::deque<held_message> held;
  } sides[2];
  std::string why;  // It was closed.
};

class memory_link final : public link {
 public:
  memory_link(std::shared_ptr<memory_pair> pair, int side, const msg::aid& peer)
      : pair_(std::move(pair)), side_(side) {
    peer_ = peer;
  }

  void send(msg::message m, urgency u) override {
    std::shared_ptr<memory_link> end;
    std::shared_ptr<link_sink> sink;
    {
      std::lock_guard lock(pair_->mutex);
      auto& to = pair_->sides[1 - side_];
      if (!to.sink) return;
      if (!to.open) return to.held.push_back({std::move(m), u});
      end = to.end;
      sink = to.sink;
    }
    sink->on_message(end, std::move(m), u);
  }

  void close(std::string why) override {
    memory_pair::side gone[2];
    {
      std::lock_guard lock(pair_->mutex);
      if (std::exchange(pair_->closed, true)) return;
      pair_->why = why;
      for (int i : {0, 1})
        if (pair_->sides[i].open) gone[i] = std::exchange(pair_->sides[i], {});
    }
    for (auto& s : gone)
      if (s.sink) s.sink->on_closed(s.end, why);
  }

  bool is_local() const noexcept override { return true; }
  std::string describe() const override { return "memory to " + peer_.name; }

  /// Tells this side's sink of the link, then of what came meanwhile, in order.
  void open() {
    auto& mine = pair_->sides[side_];
    const auto sink = mine.sink;  // Set before anybody else knew of the pair; cleared once open.
    sink->on_connected(shared_from_this());
    std::unique_lock lock(pair_->mutex);
    while (!mine.held.empty()) {
      auto next = std::move(mine.held.front());
      mine.held.pop_front();
      lock.unlock();
      sink->on_message(shared_from_this(), std::move(next.message), next.how);
      lock.lock();
    }
    if (!pair_->closed) {
      mine.open = true;
      return;
    }
    const auto gone = std::exchange(mine, {});
    const std::string why = pair_->why;
    lock.unlock();
    sink->on_closed(gone.end, why);
  }

 private:
  const std::shared_ptr<memory_pair> pair_;
  const int side_;
};

}  // namespace

void connect_memory(const msg::aid& a, std::shared_ptr<link_sink> a_sink, const msg::aid& b,
                    std::shared_ptr<link_sink> b_sink) {
  auto pair = std::make_shared<memory_pair>();
  auto a_end = std::make_shared<memory_link>(pair, 0, b);
  auto b_end = std::make_shared<memory_link>(pair, 1, a);
  pair->sides[0] = {a_end, std::move(a_sink), false, {}};
  pair->sides[1] = {b_end, std::move(b_sink), false, {}};
  b_end->open();
  a_end->open();
}

}  // namespace coppice::ipc
