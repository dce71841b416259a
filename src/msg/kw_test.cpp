// SPDX-License-Identifier: Apache-2.0
#include "coppice/kw.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "coppice/errors.hpp"
#include "coppice/function_name.hpp"
#include "msg/test_bytes.hpp"

namespace coppice {
namespace {

struct owning {
  std::string text;
};
struct trivial {
  int n = 0;
};

TEST(Kw, ArgumentsTravelAsAMapByName) {
  const std::vector<int> v{1};
  EXPECT_EQ(msg::hex(to_kwargs(kw("start", 0), kw("text", "oak"), kw("v", v))),
            "83"
            "a57374617274"
            "00"
            "a474657874"
            "a36f616b"
            "a176"
            "9101");
  EXPECT_EQ(msg::hex(to_kwargs()), "80");
}

TEST(Kw, TakesTemporariesThatLiveToTheEndOfTheCall) {
  EXPECT_EQ(msg::hex(to_kwargs(kw("s", std::string("a temporary that is not short at all")))),
            "81a173d924" +
                msg::hex(std::as_bytes(std::span("a temporary that is not short at all", 36))));
}

TEST(Kw, ANameGivenTwiceIsRefused) {
  EXPECT_EQ(msg::text_of<error>([] { to_kwargs(kw("x", 1), kw("y", 2), kw("x", 3)); }),
            "the argument 'x' is given twice in one call");
}

TEST(Kw, AnArgumentCannotBeKept) {
  static_assert(!std::is_copy_constructible_v<kwarg<int>>);
  static_assert(!std::is_move_constructible_v<kwarg<std::string>>);
}

TEST(Kw, GuardsTheTemporariesThatGcc12DestroysTwice) {
  static_assert(safe_temporary<owning&> && safe_temporary<const owning&>);
  static_assert(safe_temporary<trivial&&> && safe_temporary<std::string&&> &&
                safe_temporary<int&&>);
#if (defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 14) || defined(COPPICE_GUARD_EVERYWHERE)
  static_assert(!safe_temporary<owning&&> && !safe_temporary<std::array<std::string, 2>&&>);
#endif
}

TEST(Names, OnlyWhatAPythonProgrammerCouldWriteIsAName) {
  for (const char* good : {"x", "_", "start_2", "Ab", "match"}) {
    EXPECT_TRUE(detail::is_identifier(good) && !detail::is_python_keyword(good)) << good;
  }
  for (const char* bad : {"", "2x", "a-b", "a.b", "gr\xc3\xbcn", " x"}) {
    EXPECT_FALSE(detail::is_identifier(bad)) << bad;
  }
  for (const char* keyword : {"from", "None", "lambda", "async", "yield"}) {
    EXPECT_TRUE(detail::is_python_keyword(keyword)) << keyword;
  }
}

TEST(FunctionName, ALiteralIsCheckedWhileCompiling) {
  constexpr function_name name = "pkg.mod:count_primes";
  static_assert(name.module() == "pkg.mod" && name.function() == "count_primes");
  static_assert(name.text() == "pkg.mod:count_primes");
}

TEST(FunctionName, ANameMadeAtRunTimeIsParsed) {
  const std::string text = "self:cancel";
  EXPECT_EQ(function_name::parse(text), function_name("self:cancel"));
  EXPECT_EQ(function_name::parse("self:cancel"), function_name("self:cancel"));
  for (const char* bad : {"", "cancel", ":cancel", "self:", "a:b:c", "a:b.c", "a..b:c", ".a:b",
                          "from:x", "x:from", "pkg.import:x", "a b:c"}) {
    EXPECT_THROW(function_name::parse(std::string_view(bad)), error) << bad;
  }
  EXPECT_EQ(msg::text_of<error>([] { function_name::parse(std::string_view("primes.count")); }),
            "'primes.count' is not the name of a function: write module:function, as in "
            "\"primes:count_primes\"; dots only in the module, no Python keyword");
}

}  // namespace
}  // namespace coppice
