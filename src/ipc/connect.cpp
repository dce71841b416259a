// SPDX-License-Identifier: Apache-2.0
#include "ipc/connect.hpp"

#include <fmt/format.h>
#include <sys/socket.h>

#include <cerrno>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "base/worker_pool.hpp"
#include "coppice/errors.hpp"
#include "core/alarm.hpp"
#include "core/reactor.hpp"
#include "ipc/socket_link.hpp"
#include "ipc/sockets.hpp"

namespace coppice::ipc {

using boost::system::error_code;

namespace {

class connecting final : public attempt, public std::enable_shared_from_this<connecting> {
 public:
  connecting(std::shared_ptr<core::loop> on, const address& to, const msg::aid& self,
             std::shared_ptr<link_sink> sink, const limits& l, const transport_options& options,
             connect_done done)
      : loop_(std::move(on)),
        to_(to),
        self_(self),
        sink_(std::move(sink)),
        limits_(l),
        options_(options),
        done_(std::move(done)),
        socket_(core::io_context_of(*loop_)) {}

  void start() {
    keep_ = shared_from_this();
    deadline_.set(limits_.connect_within, [this] { late(); });
    try {
      if (auto at = endpoint_of(to_)) {
        candidates_.push_back(*at);
        return next();
      }
    } catch (const std::exception& e) {
      return fail(e.what());
    }
    look_up_elsewhere();
  }

  void cancel(const std::string& why) override {
    const auto keep = keep_;
    if (link_) return link_->close(why);
    if (done_) fail(why);
  }

 private:
  // Not by Asio's resolver: its thread has no name, and the end of its loop waits for it.
  void look_up_elsewhere() {
    using answer = std::pair<std::vector<endpoint>, std::string>;
    resolver_.emplace("coppice-names");
    const auto tell = [weak = weak_from_this(), loop = loop_->ref()](answer found) {
      loop.post([weak, found = std::move(found)]() mutable {
        if (const auto me = weak.lock()) me->looked_up(std::move(found.first), found.second);
      });
    };
    try {
      lookup_ = resolver_->run([at = *to_.as_tcp(), tell]() -> base::worker_pool::afterwards {
        answer found;
        try {
          found.first = look_up(at);
        } catch (const std::exception& e) {
          found.second = e.what();
        }
        return [tell, found = std::move(found)]() mutable { tell(std::move(found)); };
      });
    } catch (const std::exception& e) {  // No thread.
      fail(e.what());
    }
  }

  void looked_up(std::vector<endpoint> found, const std::string& why) {
    if (!done_) return;
    lookup_ = 0;
    resolver_.reset();
    if (!why.empty()) return fail(why);
    candidates_ = std::move(found);
    next();
  }

  // The next address of the host, until one answers.
  void next() {
    while (next_ < candidates_.size()) {
      const endpoint& to = candidates_[next_++];
      if (auto why = exposure(to, options_)) {
        note(*why);
        continue;
      }
      try {
        return reach(to);
      } catch (const std::system_error& e) {
        note(e.code().message());
      }
    }
    fail(first_failure_.empty() ? "the host has no address for tcp" : first_failure_);
  }

  // A unix socket never waits for the other side: one whose backlog is full refuses.
  void reach(const endpoint& to) {
    base::unique_fd fd = open_socket(to);
    const int status = ::connect(fd.get(), to.data(), static_cast<socklen_t>(to.size()));
    if (status != 0 && errno != EINPROGRESS) throw std::system_error(errno, std::system_category());
    error_code ec;
    socket_.assign(to.protocol(), fd.get(), ec);
    if (ec) throw std::system_error(ec);
    (void)fd.release();
    if (status == 0) return connected();
    socket_.async_wait(socket::wait_write, [me = shared_from_this()](const error_code& waited) {
      if (me->done_ && !waited) me->settled();
    });
  }

  void settled() {
    int failure = 0;
    socklen_t size = sizeof failure;
    ::getsockopt(socket_.native_handle(), SOL_SOCKET, SO_ERROR, &failure, &size);
    if (failure == 0) return connected();
    note(std::system_category().message(failure));
    error_code ignored;
    socket_.close(ignored);
    next();
  }

  void connected() {
    if (auto why = stranger(socket_.native_handle(), options_)) return fail(*why);
    std::unique_ptr<tls_session> tls;
    try {
      if (to_.as_tcp() && options_.tls) tls = options_.tls->connect(to_.as_tcp()->host);
    } catch (const std::exception& e) {
      return fail(e.what());
    }
    deadline_.clear();
    link_ = std::make_shared<socket_link>(loop_,
                                          make_stream(std::move(socket_), limits_, std::move(tls)),
                                          self_, std::move(sink_), limits_);
    // By value: it may have ended before begin() returns.
    const auto made = link_;
    made->begin([me = shared_from_this()](std::exception_ptr e, link_ptr l) {
      me->tell(std::move(e), std::move(l));
    });
  }

  void late() {
    const auto bound = std::chrono::duration<double>(limits_.connect_within).count();
    end(std::make_exception_ptr(timeout_error(
        fmt::format("cannot connect to {}: no answer within {} s", to_.describe(), bound))));
  }
  void note(std::string why) {
    if (first_failure_.empty()) first_failure_ = std::move(why);
  }
  void fail(const std::string& why) {
    end(std::make_exception_ptr(
        transport_closed(fmt::format("cannot connect to {}: {}", to_.describe(), why))));
  }
  void end(std::exception_ptr e) {
    error_code ignored;
    socket_.close(ignored);
    tell(std::move(e), nullptr);
  }

  void tell(std::exception_ptr e, link_ptr l) {
    const auto keep = std::move(keep_);
    deadline_.clear();
    if (lookup_ != 0) resolver_->abandon(std::exchange(lookup_, 0), "a look-up of a host");
    resolver_.reset();
    link_.reset();
    sink_.reset();
    if (auto done = std::exchange(done_, nullptr)) done(std::move(e), std::move(l));
  }

  const std::shared_ptr<core::loop> loop_;
  const address to_;
  const msg::aid self_;
  std::shared_ptr<link_sink> sink_;
  const limits limits_;
  const transport_options options_;
  connect_done done_;                 // Empty once it was called.
  std::shared_ptr<connecting> keep_;  // Until then.
  socket socket_;
  core::alarm deadline_{*loop_};
  std::vector<endpoint> candidates_;
  std::size_t next_ = 0;
  std::string first_failure_;  // Of its addresses.
  std::optional<base::worker_pool> resolver_;
  base::worker_pool::ticket lookup_ = 0;
  std::shared_ptr<socket_link> link_;  // In its handshake.
};

}  // namespace

attempt_ptr connect(std::shared_ptr<core::loop> on, const address& to, const msg::aid& self,
                    std::shared_ptr<link_sink> sink, const limits& l,
                    const transport_options& options, connect_done done) {
  auto made = std::make_shared<connecting>(std::move(on), to, self, std::move(sink), l, options,
                                           std::move(done));
  made->start();
  return made;
}

}  // namespace coppice::ipc
