// SPDX-License-Identifier: Apache-2.0
#include "ipc/address.hpp"  // First: proves the header stands alone.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <set>

#include "coppice/errors.hpp"
#include "ipc/link_test_kit.hpp"

namespace coppice::ipc {
namespace {

using pair = std::pair<std::string, std::string>;

const std::string nasty[] = {"",      "plain", "it's", R"(a "b" c)", R"(back\slash\)",
                             "(',')", "grün",  "日本", "a\nb\tc\r",  "\x01\x1f\x7f",
                             "', 'x", "\\x41"};

TEST(Tuple, AnyTextSurvivesTheRoundTrip) {
  for (const auto& a : nasty)
    for (const auto& b : nasty) EXPECT_EQ(parse_tuple(tuple_text(a, b)), pair(a, b));
  const address at = address::uds("/run/user/0/it's", "root@12.sock");
  EXPECT_EQ(address::parse(at.text()), at);
}

TEST(Tuple, IsWrittenAsPythonReadsIt) {
  EXPECT_EQ(tuple_text("root", "u-1"), "('root', 'u-1')");
  EXPECT_EQ(tuple_text("it's", "a\\b"), R"(('it\'s', 'a\\b'))");
  EXPECT_EQ(tuple_text("a\nb", "\x7f"), R"(('a\x0ab', '\x7f'))");
}

// The left sides are repr() of CPython 3.14.
TEST(Tuple, EveryEscapeThatPythonWritesIsRead) {
  EXPECT_EQ(parse_tuple(R"(("it's", 'say "hi"'))"), pair("it's", "say \"hi\""));
  EXPECT_EQ(parse_tuple(R"(('it\'s "x"', 'a\\b'))"), pair("it's \"x\"", "a\\b"));
  EXPECT_EQ(parse_tuple(R"(('a\nb\tc\r', '\x01\x7f'))"), pair("a\nb\tc\r", "\x01\x7f"));
  EXPECT_EQ(parse_tuple(R"(('\xa0', '\u2028'))"), pair("\u00a0", "\u2028"));
  EXPECT_EQ(parse_tuple(R"(('\U000e0001', 'grün'))"), pair("\U000e0001", "grün"));
}

TEST(Tuple, WhatIsNoPairIsRefusedWithItsText) {
  for (const char* text : {"",
                           "(",
                           ")",
                           "()",
                           "('a')",
                           "('a',)",
                           "('a', 'b'",
                           "'a', 'b'",
                           "('a', 'b'))",
                           "('a', 'b') ",
                           " ('a', 'b')",
                           "('a' 'b')",
                           "('a', b)",
                           "(a, 'b')",
                           "('a', 'b', 'c')",
                           "('a\\",
                           "('a', 'b\\')",
                           "('a', '\\q')",
                           "('a', '\\x4')",
                           "('a', '\\xg1')",
                           "('a', '\\ud800')",
                           "('a', '\\U00110000')",
                           "('a, 'b')",
                           "(\"a', 'b')",
                           "None"}) {
    try {
      parse_tuple(text);
      ADD_FAILURE() << text;
    } catch (const protocol_error& e) {
      EXPECT_NE(std::string(e.what()).find(text), std::string::npos) << e.what();
    }
  }
}

TEST(Tuple, NoPrefixOfAPairIsOneAndNoByteCanCrashTheParser) {
  const std::string whole = tuple_text("it's", "a\nb") + "";
  for (std::size_t n = 0; n < whole.size(); ++n)
    EXPECT_THROW(parse_tuple(whole.substr(0, n)), protocol_error) << n;
  for (std::size_t at = 0; at < whole.size(); ++at)
    for (int byte = 0; byte < 256; ++byte) {
      std::string broken = whole;
      broken[at] = static_cast<char>(byte);
      try {
        parse_tuple(broken);
      } catch (const protocol_error&) {
      }
    }
}

TEST(Tuple, AnEndlessTextIsNotQuotedWhole) {
  try {
    parse_tuple("('" + std::string(1 << 20, 'a'));
    ADD_FAILURE();
  } catch (const protocol_error& e) {
    EXPECT_LT(std::strlen(e.what()), 300u);
  }
}

TEST(Address, IsTheTupleThatPythonWrites) {
  EXPECT_EQ(address::uds("/run/user/0", "x.sock").text(), "('/run/user/0', 'x.sock')");
  EXPECT_EQ(address::tcp("127.0.0.1", 1616).text(), "('127.0.0.1', 1616)");
  EXPECT_EQ(address::tcp("::1", 0).text(), "('::1', 0)");
}

TEST(Address, IsAMultiaddr) {
  EXPECT_EQ(address::uds("/run/user/0", "x.sock").multiaddr(), "/unix/run/user/0/x.sock");
  EXPECT_EQ(address::tcp("127.0.0.1", 1616).multiaddr(), "/ip4/127.0.0.1/tcp/1616");
  EXPECT_EQ(address::tcp("::1", 1616).multiaddr(), "/ip6/::1/tcp/1616");
  EXPECT_EQ(address::tcp("db.example", 65535).multiaddr(), "/dns/db.example/tcp/65535");
}

TEST(Address, IsWrittenForPeople) {
  EXPECT_EQ(address::uds("/run/user/0", "x.sock").describe(), "/run/user/0/x.sock");
  EXPECT_EQ(address::tcp("127.0.0.1", 1616).describe(), "127.0.0.1:1616");
  EXPECT_EQ(address::tcp("::1", 1616).describe(), "[::1]:1616");
}

TEST(Address, EveryTextFormIsReadBack) {
  for (const address& at :
       {address::uds("/run/user/0", "x.sock"), address::uds("/d", "it's [a] name@1.sock"),
        address::uds("", "x"), address::tcp("127.0.0.1", 1616), address::tcp("::1", 0),
        address::tcp("fe80::1%eth0", 80), address::tcp("db.example", 65535)}) {
    EXPECT_EQ(address::parse(at.text()), at) << at.text();
    EXPECT_EQ(address::parse(at.multiaddr()), at) << at.multiaddr();
    EXPECT_EQ(address(at.wire()), at);
  }
  EXPECT_EQ(address::parse("(\"127.0.0.1\",1616)"), address::tcp("127.0.0.1", 1616));
  EXPECT_EQ(address::parse("/dns4/h/tcp/1"), address::tcp("h", 1));
  EXPECT_EQ(address::parse("/dns6/h/tcp/1"), address::tcp("h", 1));
}

TEST(Address, WhatIsNoneIsRefusedWithItsText) {
  for (const char* text : {"",
                           "/",
                           "127.0.0.1:1616",
                           "('127.0.0.1', 65536)",
                           "('127.0.0.1', -1)",
                           "('', 1)",
                           "('a b', 1)",
                           "('127.0.0.1', 1, 2)",
                           "('127.0.0.1', '1'",
                           "('127.0.0.1', )",
                           "('127.0.0.1', 0x10)",
                           "('a', None)",
                           "/ip4/127.0.0.1",
                           "/ip4/127.0.0.1/tcp",
                           "/ip4/127.0.0.1/tcp/",
                           "/ip4/127.0.0.1/tcp/65536",
                           "/ip4/127.0.0.1/udp/1",
                           "/ip4/127.0.0.1/tcp/1/ws",
                           "/ip4/::1/tcp/1",
                           "/ip6/127.0.0.1/tcp/1",
                           "/ip4/host/tcp/1",
                           "/dns//tcp/1",
                           "/tcp/1",
                           "/unix",
                           "/unix/",
                           "/unix/dir/",
                           "/onion/x/tcp/1"}) {
    try {
      address::parse(text);
      ADD_FAILURE() << text;
    } catch (const protocol_error& e) {
      EXPECT_TRUE(std::string(e.what()).ends_with(std::string(", got: ") + text)) << e.what();
    }
  }
}

TEST(Address, ATransportHasTractorsName) {
  EXPECT_EQ(name_of(transport::uds), "uds");
  EXPECT_EQ(name_of(transport::tcp), "tcp");
  for (const auto t : {transport::uds, transport::tcp}) EXPECT_EQ(parse_transport(name_of(t)), t);
  EXPECT_EQ(address::tcp("h", 1).kind(), transport::tcp);
  EXPECT_EQ(address::uds("d", "f").kind(), transport::uds);
  EXPECT_TRUE(address().empty());
  EXPECT_FALSE(address::tcp("h", 1).empty());
  try {
    parse_transport("tipc");
    ADD_FAILURE();
  } catch (const error& e) {
    EXPECT_EQ(std::string(e.what()), "unknown transport 'tipc': there are uds and tcp");
  }
}

class SocketDirectory : public testing::Test {
 protected:
  static mode_t mode_of(const std::string& path) {
    struct stat s{};
    EXPECT_EQ(::stat(path.c_str(), &s), 0);
    return s.st_mode & 0777;
  }
  // What runtime_directory() says when it refuses.
  static std::string refusal() {
    try {
      return "accepted " + runtime_directory();
    } catch (const error& e) {
      return e.what();
    }
  }

  test::own_runtime_directory own;
  const std::string dir = own.path() + "/coppice";
};

TEST_F(SocketDirectory, IsMadeForThisUserAloneAndFoundAgain) {
  EXPECT_EQ(runtime_directory(), dir);
  EXPECT_EQ(mode_of(dir), 0700u);
  EXPECT_EQ(runtime_directory(), dir);
}

TEST_F(SocketDirectory, OneThatOthersMayEnterIsRefusedByName) {
  ::mkdir(dir.c_str(), 0700);
  for (mode_t mode : {0710u, 0701u, 0770u, 0755u, 0704u}) {
    ::chmod(dir.c_str(), mode);
    EXPECT_NE(refusal().find(dir + " is not a directory of yours with mode 0700"),
              std::string::npos)
        << refusal();
    EXPECT_EQ(mode_of(dir), mode) << "it is somebody's: hands off";
  }
}

TEST_F(SocketDirectory, ALinkOrAFileInItsPlaceIsRefused) {
  const std::string elsewhere = own.path() + "/elsewhere";
  ::mkdir(elsewhere.c_str(), 0700);
  ASSERT_EQ(::symlink(elsewhere.c_str(), dir.c_str()), 0);
  EXPECT_NE(refusal().find("is not a directory of yours"), std::string::npos) << refusal();
  ::unlink(dir.c_str());
  const base::unique_fd file(::creat(dir.c_str(), 0700));
  EXPECT_NE(refusal().find("is not a directory of yours"), std::string::npos) << refusal();
}

TEST_F(SocketDirectory, SomebodyElsesIsRefused) {
  ::mkdir(dir.c_str(), 0700);
  if (::chown(dir.c_str(), 12345, 12345) != 0)
    GTEST_SKIP() << "only root can give a directory away";
  EXPECT_NE(refusal().find("is not a directory of yours"), std::string::npos) << refusal();
}

TEST_F(SocketDirectory, OneThatCannotBeMadeIsSaidWithTheVariableToSet) {
  ::setenv("XDG_RUNTIME_DIR", (own.path() + "/missing").c_str(), 1);
  EXPECT_NE(refusal().find("cannot make the socket directory " + own.path() + "/missing/coppice"),
            std::string::npos)
      << refusal();
  EXPECT_NE(refusal().find("XDG_RUNTIME_DIR"), std::string::npos);
}

std::string file_of(const address& at) { return at.as_uds()->file; }

class SocketName : public SocketDirectory {
 protected:
  const std::string tail = "@" + std::to_string(::getpid()) + ".sock";
  const std::string uuid = "12345678-9abc";
};

TEST_F(SocketName, CarriesNameAndPidAndTheUuidIfThereAreOthersInTheProcess) {
  EXPECT_EQ(socket_address("root", uuid, true), address::uds(dir, "root" + tail));
  EXPECT_EQ(socket_address("root", uuid, false), address::uds(dir, "root.12345678" + tail));
  EXPECT_EQ(file_of(socket_address("a-b_c.d[0]", uuid, true)), "a-b_c.d[0]" + tail);
}

TEST_F(SocketName, WhatIsUnsafeInAPathIsHashed) {
  std::set<std::string> seen;
  for (const auto& name :
       std::vector<std::string>{"", ".hidden", "..", "../../etc/passwd", "a/b", "a b", "grün",
                                "a\nb", "a@b", "a'b", std::string("nul\0l", 5)}) {
    const auto file = file_of(socket_address(name, uuid, true));
    EXPECT_EQ(file.rfind("actor.", 0), 0u) << file;
    EXPECT_TRUE(file.ends_with(tail)) << file;
    EXPECT_EQ(file.find('/'), file.npos);
    EXPECT_TRUE(seen.insert(file).second) << "two names, one file: " << file;
  }
  EXPECT_EQ(file_of(socket_address("ok", "../../x", false)).rfind("actor.", 0), 0u);
}

TEST_F(SocketName, ALongNameIsHashedAndTwoActorsOfThatNameDiffer) {
  const std::string name(200, 'n');
  const auto one = socket_address(name, "uuid-one", false), two = socket_address(name, "u2", false);
  EXPECT_LT(one.describe().size(), sizeof(sockaddr_un::sun_path));
  EXPECT_NE(file_of(one), file_of(two));
}

TEST_F(SocketName, ADirectoryThatLeavesNoRoomIsSaid) {
  const std::string deep = own.path() + "/" + std::string(90, 'd');
  ::mkdir(deep.c_str(), 0700);
  ::setenv("XDG_RUNTIME_DIR", deep.c_str(), 1);
  EXPECT_THROW(socket_address("root", uuid, true), error);
}

}  // namespace
}  // namespace coppice::ipc
