// SPDX-License-Identifier: Apache-2.0
#include "ipc/memory_link.hpp"

#include <deque>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace coppice::ipc {

namespace {

/// What the two ends share: who receives on each side, and whether it is over.
struct memory_pair {
  struct held_message {
    msg::message message;
    urgency how;
  };
  // tidy: allow lock: a transport is where threads meet
  std::mutex mutex;  // Guards the rest. Never held while a sink is called.
  bool closed = false;
  std::string why;  // It was closed.
  struct side {
    link_ptr end;                     // Cleared by the end: breaks the cycle.
    std::shared_ptr<link_sink> sink;  // Likewise.
    // Has it been told of its link? Until then messages wait here: the other side may answer
    // on_connected() from another thread before this one has heard of anything.
    bool open = false;
    std::deque<held_message> held = {};
    // Calls of on_message() under way. While there are any the end is not told: it is the last
    // word.
    int delivering = 0;
  } sides[2];

  /// The side if this is the moment to tell it of the end, else an empty one. REQUIRES: locked.
  side take_if_over(side& s) {
    return closed && s.open && s.delivering == 0 ? std::exchange(s, {}) : side{};
  }
  void tell(const side& gone) const {  // `why` is constant once closed.
    if (gone.sink) gone.sink->on_closed(gone.end, why);
  }
};

class memory_link final : public link {
 public:
  memory_link(std::shared_ptr<memory_pair> pair, int side, const msg::aid& peer)
      : pair_(std::move(pair)), side_(side) {
    peer_ = peer;
  }

  void send(msg::message m, urgency u) override {
    pass([&](memory_pair::side& to) { to.held.push_back({std::move(m), u}); },
         [&](link_sink& sink, const link_ptr& end) { sink.on_message(end, std::move(m), u); });
  }
  void send_values(const std::string& cid, std::vector<payload>&& values) override {
    pass(
        [&](memory_pair::side& to) {
          for (auto& v : values) to.held.push_back({msg::yield{cid, std::move(v)}, urgency::now});
        },
        [&](link_sink& sink, const link_ptr& end) { sink.on_values(end, cid, std::move(values)); });
  }

  void close(std::string why) override {
    memory_pair::side gone[2];
    {
      std::lock_guard lock(pair_->mutex);
      if (std::exchange(pair_->closed, true)) return;
      pair_->why = std::move(why);
      for (int i : {0, 1}) gone[i] = pair_->take_if_over(pair_->sides[i]);
    }
    for (const auto& s : gone) pair_->tell(s);
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
    mine.open = true;
    const auto gone = pair_->take_if_over(mine);
    lock.unlock();
    pair_->tell(gone);
  }

 private:
  /// Calls `hold` with the other side if that is not open yet, else `deliver` with its sink.
  template <class Hold, class Deliver>
  void pass(Hold hold, Deliver deliver) {
    memory_pair& pair = *pair_;
    memory_pair::side& to = pair.sides[1 - side_];
    link_ptr end;
    std::shared_ptr<link_sink> sink;
    {
      std::lock_guard lock(pair.mutex);
      if (pair.closed) return;
      if (!to.open) return hold(to);
      end = to.end;
      sink = to.sink;
      ++to.delivering;
    }
    struct delivery {
      memory_pair& pair;
      memory_pair::side& to;
      ~delivery() {
        memory_pair::side gone;
        {
          std::lock_guard lock(pair.mutex);
          --to.delivering;
          gone = pair.take_if_over(to);
        }
        pair.tell(gone);
      }
    };
    const delivery under_way{pair, to};
    deliver(*sink, end);
  }

  const std::shared_ptr<memory_pair> pair_;
  const int side_;
};

}  // namespace

void connect_memory(const msg::aid& a, std::shared_ptr<link_sink> a_sink, const msg::aid& b,
                    std::shared_ptr<link_sink> b_sink) {
  auto pair = std::make_shared<memory_pair>();
  auto a_end = std::make_shared<memory_link>(pair, 0, b);
  auto b_end = std::make_shared<memory_link>(pair, 1, a);
  pair->sides[0] = {a_end, std::move(a_sink)};
  pair->sides[1] = {b_end, std::move(b_sink)};
  b_end->open();
  a_end->open();
}

}  // namespace coppice::ipc
