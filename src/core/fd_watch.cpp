// SPDX-License-Identifier: Apache-2.0
#include "core/fd_watch.hpp"

// tidy: allow library-home: the reactor's own wait for a descriptor that is not a socket
#include <boost/asio/posix/stream_descriptor.hpp>
#include <utility>

#include "core/reactor.hpp"

namespace coppice::core {

struct fd_watch::state : std::enable_shared_from_this<fd_watch::state> {
  state(loop& l, int fd, base::unique_function<void()> f)
      : descriptor(io_context_of(l), fd), on_readable(std::move(f)) {}

  void wait() {
    descriptor.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                          [me = shared_from_this()](boost::system::error_code ec) {
                            if (!me->on_readable || ec) return;
                            auto call = std::move(me->on_readable);
                            me->calling = true;
                            call();
                            me->calling = false;
                            if (me->ended) return;
                            me->on_readable = std::move(call);
                            me->wait();
                          });
  }

  boost::asio::posix::stream_descriptor descriptor;
  base::unique_function<void()> on_readable;
  bool calling = false;
  bool ended = false;
};

fd_watch::fd_watch(loop& l, int fd, base::unique_function<void()> on_readable)
    : state_(std::make_shared<state>(l, fd, std::move(on_readable))) {
  state_->wait();
}

fd_watch::~fd_watch() {
  state_->ended = true;
  if (!state_->calling) state_->on_readable = {};
  state_->descriptor.release();  // Cancels the wait and leaves the descriptor open: it is not ours.
}

}  // namespace coppice::core
