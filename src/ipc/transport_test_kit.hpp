// SPDX-License-Identifier: Apache-2.0
// What tests of listening and connecting share: a loop with a server and a client on it.
#pragma once

#include "coppice/errors.hpp"
#include "ipc/connect.hpp"
#include "ipc/link_test_kit.hpp"
#include "ipc/listener.hpp"

namespace coppice::ipc::test {

/// What is made meanwhile belongs to another user. Only root can.
class as_another_user {
 public:
  static constexpr uid_t id = 12345;
  static bool possible() { return ::geteuid() == 0; }
  as_another_user() { EXPECT_EQ(::seteuid(id), 0); }
  ~as_another_user() { EXPECT_EQ(::seteuid(0), 0); }
};

class server_and_client {
 public:
  ~server_and_client() {
    listening.reset();
    for (auto& s : {server, client}) s->forget();
    connecting.reset();
    made.reset();
    expect_released(loop, descriptors_);
  }

  template <class Body>
  void run(Body body) {
    auto whole = [&]() -> task<> {
      co_await body();
      if (listening) listening->close();
      if (connecting) connecting->cancel("the test is over");
      for (auto& s : {server, client})
        for (auto& l : s->links()) l->close("the test is over");
    };
    loop->run(whole());
  }
  void listen(const address& where) {
    listening = listener::open(loop, where, aid("server"), server, bounds, server_options);
    at = listening->at();
  }
  void listen_tcp() { listen(address::tcp("127.0.0.1", 0)); }
  void listen_uds() { listen(socket_address("server", "uuid", true)); }
  void connect() {
    connecting = ipc::connect(loop, at, aid("client"), client, bounds, client_options,
                              [this](std::exception_ptr e, link_ptr l) {
                                ++done;
                                failure = e ? describe_exception(e) : "";
                                EXPECT_EQ(l != nullptr, e == nullptr);
                                made = l;
                              });
  }
  task<bool> both_connected() {
    co_return co_await until([this] { return server->connected() > 0 && client->connected() > 0; });
  }
  task<bool> told() {
    co_return co_await until([this] { return done > 0; });
  }

  const std::size_t descriptors_ = open_descriptors();
  own_runtime_directory own;
  address at;
  limits bounds;
  transport_options server_options, client_options;
  std::shared_ptr<core::loop> loop = std::make_shared<core::loop>();
  std::shared_ptr<recorder> server = std::make_shared<recorder>(),
                            client = std::make_shared<recorder>();
  std::shared_ptr<listener> listening;
  attempt_ptr connecting;
  link_ptr made;
  int done = 0;
  std::string failure = "(nothing)";
};

/// One test for each transport.
class EachTransport : public testing::TestWithParam<transport>, public server_and_client {
 protected:
  void listen() { GetParam() == transport::tcp ? listen_tcp() : listen_uds(); }
};
inline auto each_transport() { return testing::Values(transport::uds, transport::tcp); }
inline std::string transport_of(const testing::TestParamInfo<transport>& info) {
  return std::string(name_of(info.param));
}

}  // namespace coppice::ipc::test
