// SPDX-License-Identifier: Apache-2.0
#include "core/reactor.hpp"

#include <boost/asio/post.hpp>

#include "core/reactor_wake.hpp"

namespace coppice::core {

bool reactor::poll() {
  context_.restart();
  return context_.poll() != 0;
}

void reactor::wait(duration limit) {
  context_.restart();
  if (limit < duration::zero()) {
    context_.run_one();
  } else {
    context_.run_one_for(limit);
  }
}

void wake_reactor(reactor& r) noexcept {
  // Not stop(): a late one would make has_work() lie about operations that wait.
  boost::asio::post(r.context_, [] {});
}

}  // namespace coppice::core
