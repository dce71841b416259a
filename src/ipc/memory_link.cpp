// SPDX-License-Identifier: Apache-2.0
#include "ipc/memory_link.hpp"

#include <atomic>
#include <mutex>
#include <utility>

namespace coppice::ipc {

namespace {

class memory_link;

/// What the two ends share: who receives on each side, and whether it is over.
struct memory_pair {
  std::atomic<bool> closed{false};
  std::shared_ptr<memory_link> ends[2];       // Cleared by close(): breaks the cycle.
  std::shared_ptr<link_sink> sinks[2];        // Guarded by mutex, as are `ends`.
  std::mutex mutex;
};

class memory_link final : public link {
 public:
  memory_link(std::shared_ptr<memory_pair> pair, int side, const msg::aid& peer)
      : pair_(std::move(pair)), side_(side) {
    peer_ = peer;
  }

  void send(msg::message m, urgency u) override {
    auto [end, sink] = other();
    if (sink) sink->on_message(end, std::move(m), u);
  }

  void close(std::string why) override {
    if (pair_->closed.exchange(true)) return;
    std::shared_ptr<memory_link> ends[2];
    std::shared_ptr<link_sink> sinks[2];
    {
      std::lock_guard lock(pair_->mutex);
      for (int i : {0, 1}) {
        ends[i] = std::move(pair_->ends[i]);
        sinks[i] = std::move(pair_->sinks[i]);
      }
    }
    for (int i : {0, 1}) sinks[i]->on_closed(ends[i], why);
  }

  bool is_local() const noexcept override { return true; }
  std::string describe() const override { return "memory to " + peer_.name; }

 private:
  std::pair<link_ptr, std::shared_ptr<link_sink>> other() {
    std::lock_guard lock(pair_->mutex);
    return {pair_->ends[1 - side_], pair_->sinks[1 - side_]};
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
  pair->ends[0] = a_end;
  pair->ends[1] = b_end;
  pair->sinks[0] = a_sink;
  pair->sinks[1] = b_sink;
  b_sink->on_connected(b_end);
  a_sink->on_connected(a_end);
}

}  // namespace coppice::ipc
