// SPDX-License-Identifier: Apache-2.0
#include "coppice/endpoint.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>

#include <any>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <typeindex>
#include <vector>

#include "coppice/exposed.hpp"
#include "coppice/testkit/async_test.hpp"
#include "coppice/value.hpp"
#include "msg/test_bytes.hpp"

namespace coppice {

// In place of the actor layer's: what endpoints need of an actor.
class actor {
 public:
  explicit actor(std::string name) : name_(std::move(name)) {}
  const std::string& name() const { return name_; }
  template <class C>
  C& local() {
    auto& slot = locals_[typeid(C)];
    if (!slot) slot = std::make_shared<C>();
    return *static_cast<C*>(slot.get());
  }

 private:
  std::string name_;
  std::map<std::type_index, std::shared_ptr<void>> locals_;
};

namespace {

using msg::text_of;

int calls = 0;  // How many functions have run.

task<std::int64_t> count_primes(std::int64_t start, std::int64_t stop) {
  ++calls;
  co_await checkpoint();
  co_return stop - start;
}
inline constexpr endpoint count{"primes:count_primes", count_primes, "start", "stop"};

inline constexpr endpoint<std::int64_t(std::int64_t, std::int64_t)> count_in_python{
    "primes_py:count_primes", "start", "stop"};

int twice(int x) noexcept { return 2 * x; }
inline constexpr endpoint twice_endpoint{"plain:twice", twice, "x"};

void nothing() { ++calls; }
inline constexpr endpoint nothing_endpoint{"plain:nothing", nothing};

task<> nothing_later() {
  co_await checkpoint();
  ++calls;
}
inline constexpr endpoint nothing_later_endpoint{"plain:nothing_later", nothing_later};

struct counter {
  std::int64_t total = 0;
  task<std::int64_t> add(std::int64_t by) {
    total += by;
    co_return total;
  }
  std::int64_t read() const { return total; }
};
inline constexpr endpoint counter_add{"counter:add", &counter::add, "by"};
inline constexpr endpoint counter_read{"counter:read", &counter::read};

struct query {
  std::string_view text;
  int limit = 10;
  bool exact = false;
};
task<std::string> find(query q) {
  co_await checkpoint();
  co_return std::string(q.text) + "/" + std::to_string(q.limit) + (q.exact ? "!" : "?");
}
inline constexpr endpoint find_endpoint{"index:find", find, as_kwargs};
inline constexpr endpoint<std::string(keywords<query>)> find_in_python{"index_py:find"};

task<std::string> whoami(actor& self, std::optional<std::string> greeting) {
  co_return greeting.value_or("I am ") + std::string(self.name());
}
inline constexpr endpoint whoami_endpoint{"who:am_i", whoami, "greeting"};

task<std::size_t> lengths(const std::string& a, std::string_view b, std::string&& c,
                          std::span<const std::byte> d) {
  co_await checkpoint();  // The arguments are still there afterwards.
  co_return a.size() * 1000 + b.size() * 100 + c.size() * 10 + d.size();
}
inline constexpr endpoint lengths_endpoint{"text:lengths", lengths, "a", "b", "c", "d"};

task<int> parse(std::string s) {
  if (s.empty()) throw std::invalid_argument("empty input");
  co_return static_cast<int>(s.size());
}
inline constexpr endpoint parse_endpoint{"text:parse", parse, "s"};

std::string garbled() { return "\xff"; }
inline constexpr endpoint garbled_endpoint{"text:garbled", garbled};

inline constexpr exposed all[] = {count, twice_endpoint, counter_add, find_endpoint};  // constexpr

// What a caller sends and what comes back, as a value.
task<value> ask(actor& self, exposed e, payload kwargs) {
  co_return value(co_await e.invoke(self, std::move(kwargs)));
}

TEST(Endpoint, KnowsItsNamesAndTypesWhileCompiling) {
  static_assert(count.name() == function_name("primes:count_primes"));
  static_assert(count.parameters().size() == 2 && count.parameters()[1] == "stop");
  static_assert(std::same_as<decltype(count)::result, std::int64_t>);
  static_assert(std::same_as<decltype(lengths_endpoint)::result, std::size_t>);
  static_assert(whoami_endpoint.parameters().size() == 1, "actor& is no parameter");
  static_assert(find_endpoint.parameters().size() == 3 && find_endpoint.parameters()[0] == "text");
  static_assert(all[0].name() == count.name());
}

TEST(Endpoint, PositionalArgumentsTravelByName) {
  EXPECT_EQ(value(count.arguments(0, 50'000)).text(), "{'start': 0, 'stop': 50000}");
  EXPECT_EQ(count_in_python.arguments(0u, std::int8_t{5}), count.arguments(0, 5))
      << "declared or not, whatever the integers' types";
  EXPECT_EQ(value(nothing_endpoint.arguments()).text(), "{}");
  const std::vector<std::byte> bytes(2);
  EXPECT_EQ(value(lengths_endpoint.arguments("literal", std::string("temp"), std::string_view("v"),
                                             bytes))
                .text(),
            "{'a': 'literal', 'b': 'temp', 'c': 'v', 'd': b'\\x00\\x00'}");
}

TEST(Endpoint, AnArgumentIsEncodedAsItsParametersType) {
  static constexpr endpoint<void(double, std::optional<int>, std::vector<int>)> e{"m:f", "d", "o",
                                                                                  "v"};
  EXPECT_EQ(value(e.arguments(1, 2, std::vector<int>{3})).text(), "{'d': 1.0, 'o': 2, 'v': [3]}");
  const std::vector<int> v;
  EXPECT_EQ(value(e.arguments(1.5f, std::nullopt, v)).text(), "{'d': 1.5, 'o': None, 'v': []}");
  EXPECT_EQ(value(e.arguments(1.5f, std::optional<int>(4), v)).text(),
            "{'d': 1.5, 'o': 4, 'v': []}");
  EXPECT_EQ(value(e.arguments(1.5f, std::optional<std::int64_t>(4), v)).text(),
            "{'d': 1.5, 'o': 4, 'v': []}");
  EXPECT_EQ(value(e.arguments(1.5f, std::optional<std::int64_t>(), v)).text(),
            "{'d': 1.5, 'o': None, 'v': []}");
  EXPECT_THROW((void)e.arguments(1.5f, std::optional<std::int64_t>(1LL << 40), v), argument_error);
}

TEST(Endpoint, ANumberThatDoesNotFitItsParameterIsRefusedByTheCaller) {
  EXPECT_EQ(text_of<argument_error>([] { (void)twice_endpoint.arguments(std::int64_t{1} << 40); }),
            "plain:twice() argument 'x': 1099511627776 does not fit the parameter's type");
  EXPECT_THROW((void)count.arguments(0, std::numeric_limits<std::uint64_t>::max()), argument_error);
}

TEST(Endpoint, OptionalParametersMayBeLeftOut) {
  EXPECT_EQ(value(whoami_endpoint.arguments()).text(), "{}");
  EXPECT_EQ(value(whoami_endpoint.arguments("je suis ")).text(), "{'greeting': 'je suis '}");
}

TEST(Endpoint, AStructsFieldsAreTheKeywordArguments) {
  EXPECT_EQ(value(find_endpoint.arguments({.text = "oak", .exact = true})).text(),
            "{'text': 'oak', 'limit': 10, 'exact': True}");
  EXPECT_EQ(find_in_python.arguments({.text = "oak"}), find_endpoint.arguments({.text = "oak"}));
}

COPPICE_TEST(Endpoint, ACallRunsTheFunctionWithItsArguments) {
  actor self("ada");
  auto r = co_await ask(self, count, to_kwargs(kw("stop", 9), kw("start", 2)));
  EXPECT_EQ(r.as<std::int64_t>(), 7);
  auto typed = co_await ask(self, count, count.arguments(2, 9));
  EXPECT_EQ(typed.as<std::int64_t>(), 7);
}

COPPICE_TEST(Endpoint, PlainFunctionsAreEndpointsToo) {
  actor self("ada");
  auto r = co_await ask(self, twice_endpoint, twice_endpoint.arguments(21));
  EXPECT_EQ(r.as<int>(), 42);
  calls = 0;
  auto none = co_await ask(self, nothing_endpoint, to_kwargs());
  EXPECT_TRUE(none.is_nil());
  auto later = co_await ask(self, nothing_later_endpoint, to_kwargs());
  EXPECT_TRUE(later.is_nil());
  EXPECT_EQ(calls, 2);
}

COPPICE_TEST(Endpoint, AMemberFunctionHasOneObjectPerActor) {
  actor a("a"), b("b");
  (void)co_await ask(a, counter_add, counter_add.arguments(2));
  auto x = co_await ask(a, counter_add, counter_add.arguments(3));
  auto y = co_await ask(b, counter_add, counter_add.arguments(1));
  auto z = co_await ask(a, counter_read, to_kwargs());
  EXPECT_EQ(x.as<int>(), 5);
  EXPECT_EQ(y.as<int>(), 1);
  EXPECT_EQ(z.as<int>(), 5);
}

COPPICE_TEST(Endpoint, TheActorIsHandedIn) {
  actor self("ada");
  auto r = co_await ask(self, whoami_endpoint, to_kwargs());
  EXPECT_EQ(r.as<std::string>(), "I am ada");
  auto none = co_await ask(self, whoami_endpoint, whoami_endpoint.arguments(std::nullopt));
  EXPECT_EQ(none.as<std::string>(), "I am ada") << "None is as good as left out";
  auto fr = co_await ask(self, whoami_endpoint, to_kwargs(kw("greeting", "je suis ")));
  EXPECT_EQ(fr.as<std::string>(), "je suis ada");
}

COPPICE_TEST(Endpoint, MissingFieldsOfAStructKeepTheirDefaults) {
  actor self("ada");
  auto r = co_await ask(self, find_endpoint, to_kwargs(kw("text", "yew"), kw("limit", 3)));
  EXPECT_EQ(r.as<std::string>(), "yew/3?");
}

COPPICE_TEST(Endpoint, ViewsAndReferencesLastUntilTheFunctionReturns) {
  actor self("ada");
  const std::vector<std::byte> d(4);
  const std::string a(1, 'a'), b(2, 'b'), c(3, 'c');
  payload kwargs = lengths_endpoint.arguments(a, b, c, d);
  auto r = co_await ask(self, lengths_endpoint, std::move(kwargs));
  EXPECT_EQ(r.as<int>(), 1234);
}

COPPICE_TEST(Endpoint, TheFunctionsExceptionComesOutOfTheTask) {
  actor self("ada");
  payload kwargs = parse_endpoint.arguments("");
  EXPECT_THROW((void)co_await ask(self, parse_endpoint, kwargs), std::invalid_argument);
  EXPECT_THROW((void)co_await ask(self, garbled_endpoint, to_kwargs()), message_type_error);
}

// Wrong arguments, in Python's words and before anything has run.
std::string refusal(exposed e, const payload& kwargs) {
  actor self("ada");
  calls = 0;
  const std::string text = text_of<argument_error>([&] { (void)e.invoke(self, kwargs); });
  EXPECT_EQ(calls, 0);
  return text;
}

TEST(Endpoint, WrongArgumentsAreATypeErrorBeforeAnythingRuns) {
  EXPECT_EQ(refusal(find_endpoint, to_kwargs(kw("txt", "yew"))),
            "index:find() has no parameter 'txt'");
  EXPECT_EQ(refusal(count, to_kwargs(kw("start", 1), kw("end", 2))),
            "primes:count_primes() has no parameter 'end'");
  EXPECT_EQ(refusal(count, to_kwargs(kw("start", 1))),
            "primes:count_primes() is missing argument 'stop'");
  EXPECT_EQ(refusal(count, to_kwargs(kw("start", 1), kw("stop", "x"))),
            "primes:count_primes() got a wrong argument: stop: expected an integer, found a str "
            "(byte 13)");
  EXPECT_EQ(
      refusal(find_endpoint, to_kwargs(kw("limit", 1.5))),
      "index:find() got a wrong argument: limit: expected an integer, found a float (byte 7)");
  EXPECT_EQ(refusal(twice_endpoint, msg::unhex_payload("82 a17801 a17802")),
            "plain:twice() got more than one argument 'x'");
  static_assert(wire_name<argument_error>::value == "TypeError");
  const auto e = std::make_exception_ptr(argument_error("x"));
  EXPECT_EQ(to_remote(e, uid()).type, "TypeError");
}

TEST(EndpointTable, FindsByModuleAndFunction) {
  const endpoint_table table(all);
  EXPECT_EQ(table.find("primes", "count_primes").name(), count.name());
  EXPECT_EQ(table.find("index", "find").parameters().size(), 3u);
  EXPECT_TRUE(table.has_module("plain"));
  EXPECT_FALSE(table.has_module("plai"));
  EXPECT_EQ(table.all().size(), 4u);
  EXPECT_FALSE(endpoint_table().has_module("plain"));
}

TEST(EndpointTable, SaysWhatIsMissing) {
  const std::vector<exposed> some = {count, twice_endpoint, nothing_endpoint};
  const endpoint_table table(some);
  EXPECT_EQ(text_of<module_not_exposed>([&] { (void)table.find("os", "system"); }),
            "module 'os' is not exposed: list its endpoints where the program starts");
  EXPECT_EQ(text_of<no_such_function>([&] { (void)table.find("plain", "thrice"); }),
            "module 'plain' has no function 'thrice' (it has: nothing, twice)");
  const auto e = std::make_exception_ptr(no_such_function("x"));
  EXPECT_EQ(to_remote(e, uid()).type, "AttributeError");
}

TEST(EndpointTable, TwoOfOneNameAreRefused) {
  const std::vector<exposed> twice_listed = {count, twice_endpoint, count};
  EXPECT_EQ(text_of<error>([&] { (void)endpoint_table(twice_listed); }),
            "two endpoints are called 'primes:count_primes': give one of them another name");
}

}  // namespace
}  // namespace coppice
