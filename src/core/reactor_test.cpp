// SPDX-License-Identifier: Apache-2.0
#include "core/reactor.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>

#include "coppice/nursery.hpp"
#include "coppice/outcome.hpp"
#include "coppice/time.hpp"

namespace coppice::core {
namespace {

using namespace std::chrono_literals;
namespace asio = boost::asio;
using socket = asio::local::stream_protocol::socket;

class Reactor : public testing::Test {
 protected:
  void SetUp() override { asio::local::connect_pair(here, there); }
  loop l;
  socket here{io_context_of(l)};
  socket there{io_context_of(l)};
};

task<std::string> read(socket& s, std::size_t bytes) {
  std::string text(bytes, '\0');
  auto got = co_await asio_op<std::size_t>(
      "read", [&](auto handler) { asio::async_read(s, asio::buffer(text), std::move(handler)); });
  if (got.error) throw boost::system::system_error(got.error);
  text.resize(got.value);
  co_return text;
}

task<> write(socket& s, std::string text) {
  auto put = co_await asio_op<std::size_t>(
      "write", [&](auto handler) { asio::async_write(s, asio::buffer(text), std::move(handler)); });
  if (put.error) throw boost::system::system_error(put.error);
}

TEST_F(Reactor, AnOperationGivesErrorCodeAndValues) {
  std::string got;
  l.run([](socket& a, socket& b, std::string& to) -> task<> {
    co_await open_nursery([&](nursery& n) -> task<> {
      n.start_soon(write, std::ref(b), "hello");
      to = co_await read(a, 5);
    });
    b.close();
    auto r = co_await as_result(read(a, 1));
    EXPECT_NE(r.error<boost::system::system_error>(), nullptr);
  }(here, there, got));
  EXPECT_EQ(got, "hello");
}

TEST_F(Reactor, ACancelStopsTheOperationAndTheSocketIsUsableAfterwards) {
  l.run([](socket& a, socket& b) -> task<> {
    EXPECT_FALSE(co_await move_on_after(1ms, read(a, 5)));
    co_await write(b, "again");
    EXPECT_EQ(co_await read(a, 5), "again");
  }(here, there));
}

TEST_F(Reactor, ACancelByFunctionReachesOnlyWhatItNames) {
  l.run([](socket& a) -> task<> {
    bool called = false;
    std::array<char, 1> byte{};
    auto finished = co_await move_on_after(1ms, [&](cancel_scope&) -> task<> {
      auto one = co_await asio_op<std::size_t>(
          "read one", [&](auto h) { a.async_read_some(asio::buffer(byte), std::move(h)); },
          [&] {
            called = true;
            a.cancel();
          });
      ADD_FAILURE() << "not cancelled: " << one.error.message();
    });
    EXPECT_FALSE(finished);
    EXPECT_TRUE(called);
  }(here));
}

TEST_F(Reactor, AnOperationThatWasCompleteBeforeTheCancelGivesItsResult) {
  l.run([](socket& a, socket& b) -> task<> {
    std::array<char, 8> bytes{};
    std::size_t got = 0;
    co_await open_nursery([&](nursery& n) -> task<> {
      n.start_soon(
          [](socket& s, std::array<char, 8>& to, std::size_t& count) -> task<> {
            auto some = co_await asio_op<std::size_t>(
                "read", [&](auto h) { s.async_read_some(asio::buffer(to), std::move(h)); });
            EXPECT_FALSE(some.error);
            count = some.value;
          },
          std::ref(a), std::ref(bytes), std::ref(got));
      const std::string text = "abc";
      asio::write(b, asio::buffer(text));
      co_await checkpoint();  // The read begins, and is complete in Asio's queue.
      co_await checkpoint();
      n.cancel();
    });
    EXPECT_EQ(got, 3u) << "bytes that were read are not lost";
  }(here, there));
}

TEST_F(Reactor, ReadyIoIsServedWhileOtherTasksNeverWait) {
  l.run([](socket& a, socket& b) -> task<> {
    co_await open_nursery([&](nursery& n) -> task<> {
      n.start_soon([]() -> task<> {
        for (;;) co_await checkpoint();
      });
      n.start_soon(write, std::ref(b), "x");
      EXPECT_EQ(co_await fail_after(5s, read(a, 1)), "x");
      n.cancel();
    });
  }(here, there));
}

TEST_F(Reactor, TimersFireWhileIoWaits) {
  l.run([](socket& a) -> task<> {
    const auto began = std::chrono::steady_clock::now();
    EXPECT_FALSE(co_await move_on_after(3ms, read(a, 1)));
    EXPECT_GE(std::chrono::steady_clock::now() - began, 3ms);
  }(here));
}

TEST(ReactorUse, ALoopWithoutIoHasNoReactor) {
  loop l;
  l.run([]() -> task<> { co_await checkpoint(); }());
  base::tree_writer out;
  l.describe(out);
  EXPECT_EQ(out.text().find("with I/O"), std::string::npos);
}

TEST(ReactorUse, AHandlerThatThrowsEndsTheRun) {
  loop l;
  asio::post(io_context_of(l), [] { throw std::runtime_error("in a handler"); });
  EXPECT_THROW(l.run([]() -> task<> { co_await sleep_for(1h); }()), std::runtime_error);
}

}  // namespace
}  // namespace coppice::core
