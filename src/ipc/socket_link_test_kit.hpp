// SPDX-License-Identifier: Apache-2.0
// What tests of one socket link share.
#pragma once

#include <memory>
#include <string>

#include "core/reactor.hpp"
#include "ipc/link_test_kit.hpp"
#include "ipc/socket_link.hpp"

namespace coppice::ipc::test {

/// One link over one end of a socket pair; the test holds the other end and does as it likes with
/// it.
class one_link : public testing::Test {
 protected:
  ~one_link() override {
    link_.reset();
    sink->forget();
    test::expect_released(loop, descriptors_);
  }

  /// Runs the test's body on the loop, and closes what it leaves open.
  template <class Body>
  void run(Body body) {
    auto whole = [&]() -> task<> {
      co_await body();
      if (link_) link_->close("the test is over");
    };
    loop->run(whole());
  }

  raw_peer open(msg::aid self = aid("self")) {
    int fds[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    socket s(core::io_context_of(*loop), socket_protocol(AF_UNIX, 0), fds[0]);
    link_ =
        std::make_shared<socket_link>(loop, make_stream(std::move(s), bounds), self, sink, bounds);
    link_->begin([this](std::exception_ptr e, link_ptr l) {
      ++done_;
      failure_ = e ? describe_exception(e) : "";
      EXPECT_EQ(l, e ? nullptr : link_);
    });
    return raw_peer(base::unique_fd(fds[1]));
  }
  task<raw_peer> connected() {
    raw_peer peer = open();
    EXPECT_TRUE(co_await peer.shake_hands(aid("peer")));
    EXPECT_TRUE(co_await until([&] { return sink->connected() == 1; }));
    co_return std::move(peer);
  }
  task<bool> closed() {
    co_return co_await until([this] { return sink->closed() > 0; });
  }
  task<bool> received(std::size_t n) {
    co_return co_await until([this, n] { return sink->messages().size() >= n; });
  }

  const std::size_t descriptors_ = test::open_descriptors();
  limits bounds;
  std::shared_ptr<core::loop> loop = std::make_shared<core::loop>();
  std::shared_ptr<recorder> sink = std::make_shared<recorder>();
  std::shared_ptr<socket_link> link_;
  int done_ = 0;
  std::string failure_ = "(nothing)";
};

}  // namespace coppice::ipc::test
