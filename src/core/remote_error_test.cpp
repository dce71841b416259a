// SPDX-License-Identifier: Apache-2.0
#include "coppice/remote_error.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "coppice/errors.hpp"
#include "coppice/faults.hpp"

namespace coppice {

struct refused : error {
  using error::error;
};
struct sold_out : refused {
  using refused::refused;
};
template <>
struct wire_name<refused> {
  static constexpr std::string_view value = "Refused";
};
template <>
struct wire_name<sold_out> {
  static constexpr std::string_view value = "SoldOut";
};

namespace {

const uid leaf{"leaf", "u1"};
const uid mid{"mid", "u2"};
const std::vector<error_kind> yours{error_type<sold_out>, error_type<refused>};

remote_error_info info_of(const std::string& type, const std::string& message = "boom") {
  remote_error_info info;
  info.type = info.source_type = type;
  info.message = message;
  info.source = leaf;
  info.path = {leaf};
  return info;
}

template <class E>
bool holds(const std::exception_ptr& e) {
  try {
    std::rethrow_exception(e);
  } catch (const E&) {
    return true;
  } catch (...) {
    return false;
  }
}

const std::exception& held(const std::exception_ptr& e) {
  try {
    std::rethrow_exception(e);
  } catch (const std::exception& x) {
    return x;  // Lives in `e`.
  }
}

// --- the table

// Python has these, C++ only something wider: they come back under another name.
bool only_python_has(std::string_view name) {
  for (const char* one :
       {"KeyError", "LookupError", "UnicodeError", "ZeroDivisionError", "FloatingPointError",
        "NotImplementedError", "RecursionError", "ConnectionError"})
    if (name == one) return true;
  return false;
}

TEST(RemoteError, EveryRowOfTheTableGoesThereAndBack) {
  for (const error_kind& kind : standard_errors()) {
    SCOPED_TRACE(kind.name);
    const std::exception_ptr made = remote_actor_error(info_of(std::string(kind.name))).unwrap();
    const remote_error_info again = to_remote(made, mid);
    if (only_python_has(kind.name)) {
      EXPECT_NE(again.source_type, kind.name);
      EXPECT_NE(wire_name_of(held(made)), "");
    } else {
      EXPECT_EQ(again.source_type, kind.name);
    }
  }
}

TEST(RemoteError, CppErrorsTravelUnderPythonsNames) {
  const auto name = [](const auto& e) { return std::string(wire_name_of(e)); };
  EXPECT_EQ(name(std::invalid_argument("x")), "ValueError");
  EXPECT_EQ(name(std::length_error("x")), "ValueError");
  EXPECT_EQ(name(std::out_of_range("x")), "IndexError");
  EXPECT_EQ(name(std::domain_error("x")), "ArithmeticError");
  EXPECT_EQ(name(std::overflow_error("x")), "OverflowError");
  EXPECT_EQ(name(std::bad_alloc()), "MemoryError");
  EXPECT_EQ(name(std::bad_cast()), "TypeError");
  EXPECT_EQ(name(std::runtime_error("x")), "RuntimeError");
  EXPECT_EQ(name(std::logic_error("x")), "AssertionError");
  EXPECT_EQ(name(timeout_error("x")), "TimeoutError");
  EXPECT_EQ(name(transport_closed("x")), "TransportClosed");
  EXPECT_EQ(name(limit_exceeded("x")), "LimitExceeded");
  EXPECT_EQ(name(context_cancelled(info_of("ContextCancelled"))), "ContextCancelled");
  EXPECT_EQ(name(stream_overrun(info_of("StreamOverrun"))), "StreamOverrun");
  EXPECT_EQ(name(protocol_error("x")), "") << "ours without a twin keeps its own name";
}

TEST(RemoteError, SystemErrorsTravelByTheirCode) {
  const auto name = [](std::errc code) {
    return std::string(wire_name_of(std::system_error(std::make_error_code(code), "x")));
  };
  EXPECT_EQ(name(std::errc::no_such_file_or_directory), "FileNotFoundError");
  EXPECT_EQ(name(std::errc::permission_denied), "PermissionError");
  EXPECT_EQ(name(std::errc::timed_out), "TimeoutError");
  EXPECT_EQ(name(std::errc::no_space_on_device), "OSError");
  const auto e = remote_actor_error(info_of("FileNotFoundError")).unwrap();
  ASSERT_TRUE(holds<std::system_error>(e));
  EXPECT_EQ(dynamic_cast<const std::system_error&>(held(e)).code(),
            std::errc::no_such_file_or_directory);
}

TEST(RemoteError, WhatOnlyPythonHasBecomesTheWiderClass) {
  EXPECT_TRUE(holds<std::out_of_range>(remote_actor_error(info_of("KeyError")).unwrap()));
  EXPECT_TRUE(holds<std::domain_error>(remote_actor_error(info_of("ZeroDivisionError")).unwrap()));
  EXPECT_TRUE(holds<transport_closed>(remote_actor_error(info_of("ConnectionError")).unwrap()));
}

// --- unwrap

TEST(RemoteError, UnwrapKeepsTheMessage) {
  const auto e = remote_actor_error(info_of("ValueError", "empty")).unwrap();
  ASSERT_TRUE(holds<std::invalid_argument>(e));
  EXPECT_STREQ(held(e).what(), "empty");
}

TEST(RemoteError, UnwrapGivesItselfWhereTheNameHasNoTypeHere) {
  for (const char* name : {"NoSuchError", "ActorDied"}) {
    const auto e = remote_actor_error(info_of(name)).unwrap();
    ASSERT_TRUE(holds<remote_actor_error>(e));
    EXPECT_EQ(std::string(held(e).what()), std::string(name) + ": boom");
  }
}

TEST(RemoteError, AGroupUnwrapsToAGroup) {
  remote_error_info group = info_of("ExceptionGroup", "two");
  group.members = {info_of("ValueError"), info_of("Refused")};
  const auto e = remote_actor_error(group).unwrap(yours);
  ASSERT_TRUE(holds<error_group>(e));
  const auto& members = dynamic_cast<const error_group&>(held(e)).errors();
  ASSERT_EQ(members.size(), 2u);
  EXPECT_TRUE(holds<std::invalid_argument>(members[0]));
  EXPECT_TRUE(holds<refused>(members[1]));
}

// --- errors of the program's own

TEST(RemoteError, AnErrorThatIsListedTravelsUnderItsName) {
  EXPECT_EQ(to_remote(std::make_exception_ptr(refused("no credit")), leaf).type,
            "coppice::refused");
  const auto info = to_remote(std::make_exception_ptr(refused("no credit")), leaf, yours);
  EXPECT_EQ(info.type, "Refused");
  EXPECT_EQ(info.source_type, "Refused");
  EXPECT_EQ(info.message, "no credit");
  EXPECT_TRUE(remote_actor_error(info).is<refused>());
  EXPECT_EQ(to_remote(std::make_exception_ptr(sold_out("x")), leaf, yours).type, "SoldOut");
  EXPECT_TRUE(holds<sold_out>(remote_actor_error(info_of("SoldOut")).unwrap(yours)));
  EXPECT_TRUE(holds<remote_actor_error>(remote_actor_error(info_of("SoldOut")).unwrap()));
}

TEST(RemoteError, MembersOfAGroupTravelUnderTheirNamesToo) {
  const error_group g(
      "n", {std::make_exception_ptr(refused("a")), std::make_exception_ptr(std::bad_cast())});
  const auto info = to_remote(std::make_exception_ptr(g), leaf, yours);
  EXPECT_EQ(info.members[0].type, "Refused");
  EXPECT_EQ(info.members[1].type, "TypeError");
}

// --- relaying

TEST(RemoteError, EachHopAddsItselfAndBoxes) {
  const auto first = to_remote(std::make_exception_ptr(std::out_of_range("i")), leaf);
  EXPECT_EQ(first.type, "IndexError");
  const auto second = to_remote(to_exception(first), mid);
  EXPECT_EQ(second.type, "RemoteActorError");
  EXPECT_EQ(second.source_type, "IndexError");
  EXPECT_EQ(second.source, leaf);
  EXPECT_EQ(second.path, (std::vector<uid>{leaf, mid}));
}

TEST(RemoteError, CancellationsAndTypeErrorsKeepTheirClassWhenPassedOnOverrunsDoNot) {
  for (const std::string type : {"ContextCancelled", "StreamOverrun", "MsgTypeError"}) {
    remote_error_info info = info_of(type);
    info.canceller = mid;
    info.sender = leaf;
    info.bad_msg = bad_message{"Yield", "int", "str", "c1", {}};
    const auto relayed = to_remote(to_exception(info), mid);
    EXPECT_EQ(relayed.type, type == "StreamOverrun" ? "RemoteActorError" : type);
    EXPECT_EQ(relayed.source_type, type);
    EXPECT_EQ(relayed.source, type == "ContextCancelled" ? mid : leaf) << "it is said anew";
    EXPECT_EQ(relayed.path, (std::vector<uid>{leaf, mid}));
    EXPECT_EQ(relayed.canceller, mid);
    EXPECT_EQ(relayed.sender, leaf);
    EXPECT_EQ(relayed.bad_msg, info.bad_msg);
  }
}

TEST(RemoteError, WhatArrivesHasTheClassOfItsName) {
  remote_error_info info = info_of("ContextCancelled");
  info.canceller = mid;
  const auto cancelled_there = to_exception(info);
  ASSERT_TRUE(holds<context_cancelled>(cancelled_there));
  EXPECT_EQ(dynamic_cast<const context_cancelled&>(held(cancelled_there)).canceller(), mid);
  info = info_of("StreamOverrun");
  info.sender = leaf;
  const auto overrun = to_exception(info);
  ASSERT_TRUE(holds<stream_overrun>(overrun));
  EXPECT_EQ(dynamic_cast<const stream_overrun&>(held(overrun)).sender(), leaf);
  const auto other = to_exception(info_of("ValueError"));
  EXPECT_TRUE(holds<remote_actor_error>(other));
  EXPECT_FALSE(holds<context_cancelled>(other));
}

// --- message_type_error

TEST(RemoteError, AMessageTypeErrorNamesMessageExpectedAndGotAndKeepsTheMessage) {
  const bad_message bad{"Return", "int", "str", "c1", {std::byte{0x80}}};
  const message_type_error e(bad);
  EXPECT_STREQ(e.what(), "Return: expected int, got str");
  ASSERT_NE(e.bad(), nullptr);
  EXPECT_EQ(*e.bad(), bad);
  EXPECT_EQ(message_type_error("a sentence").bad(), nullptr);
  const auto info = to_remote(std::make_exception_ptr(e), leaf);
  EXPECT_EQ(info.type, "MsgTypeError");
  EXPECT_EQ(info.bad_msg, bad);
  const auto again = remote_actor_error(info).unwrap();
  ASSERT_TRUE(holds<message_type_error>(again));
  EXPECT_EQ(*dynamic_cast<const message_type_error&>(held(again)).bad(), bad);
}

TEST(RemoteError, AMessageThatIsTooLargeIsNotSentAlong) {
  bad_message bad{"Yield", "int", "bytes", "c1", std::vector<std::byte>(bad_message_bytes_max)};
  EXPECT_EQ(to_remote(std::make_exception_ptr(message_type_error(bad)), leaf).bad_msg->bytes.size(),
            bad_message_bytes_max);
  bad.bytes.emplace_back();
  const auto info = to_remote(std::make_exception_ptr(message_type_error(bad)), leaf);
  EXPECT_TRUE(info.bad_msg->bytes.empty());
  EXPECT_EQ(info.bad_msg->cid, "c1");
}

}  // namespace
}  // namespace coppice
