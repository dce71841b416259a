// SPDX-License-Identifier: Apache-2.0
#include "core/reactor.hpp"

#include <algorithm>

#include "core/reactor_wake.hpp"

#if !defined(BOOST_ASIO_HAS_EPOLL)
#error "core/reactor.cpp wakes Asio's epoll reactor; another reactor needs another wake_reactor()"
#endif

namespace coppice::core {

namespace asio = boost::asio;

reactor::reactor()
    : scheduler_(asio::use_service<asio::detail::scheduler>(context_)),
      epoll_(asio::use_service<asio::detail::epoll_reactor>(context_)) {
  epoll_
      .init_task();  // Else a context without a descriptor yet would wait on a condition variable.
}

bool reactor::poll() {
  context_.restart();
  return context_.poll() != 0;
}

void reactor::wait(duration limit) {
  context_.restart();
  // Not run_one() or run_one_for(): they go back to sleep when interrupt() woke them without a
  // handler, and the latter reads the clock twice.
  boost::system::error_code ignored;
  constexpr long longest_us = 1'000'000'000;
  const long us = limit < duration::zero()
                      ? -1
                      : std::min(static_cast<long>(limit.count() / 1000 + 1), longest_us);
  scheduler_.wait_one(us, ignored);
}

void wake_reactor(reactor& r) noexcept {
  // Not asio::post(): it rings with the scheduler's mutex held, so on one CPU the woken thread runs
  // into that mutex and both sleep again: 2.5 times the cost of an eventfd hand-off (this: see
  // bench). Not io_context::stop(): a late one would make has_work() lie about operations that
  // wait.
  r.epoll_.interrupt();
}

}  // namespace coppice::core
