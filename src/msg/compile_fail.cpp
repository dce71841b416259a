// SPDX-License-Identifier: Apache-2.0
// Mistakes that must not compile, one per CASE, each with the words that the compiler must print.
// CASE 0 has none and must compile. Run by CMakeLists.txt beside this file.
#include <string>
#include <vector>

#include "coppice/exposed.hpp"
#include "coppice/portal.hpp"
#include "coppice/value.hpp"

using namespace coppice;

struct owning {
  std::vector<std::string> texts;
};
struct query {
  int limit = 10;
};
struct has_keyword {
  int lambda = 0;
};
task<int> one(int x);
task<int> takes_pointer(int* x);
task<int> takes_reference(int& x);
task<std::string_view> gives_view(int x);
task<int> takes_query(query q);
task<int> takes_keyword(has_keyword k);
struct chat {
  using started = int;
};
struct bad_chat {
  using to_caller = int*;
};
task<> talks(context<chat>& ctx);
task<> talks_badly(context<bad_chat>& ctx);
generator<int> ticks(int n);

inline constexpr endpoint good{"m:one", one, "x"};
inline constexpr endpoint talks_e{"m:talks", talks};
inline constexpr endpoint ticks_e{"m:ticks", ticks, "n"};
inline constexpr endpoint<int(std::string, std::optional<int>)> declared{"m:two", "text", "n"};

#if CASE == 0
inline constexpr exposed fine[] = {good, talks_e, ticks_e};
auto fine_too(portal p) {
  return p.open_context(talks_e, [](remote_context<chat>& ctx, int) { (void)ctx.open_stream(); });
}
#elif CASE == 1   // name_is_not_of_the_form_module_colon_function
inline constexpr endpoint bad{"one", one, "x"};
#elif CASE == 2   // name_is_a_python_keyword
inline constexpr endpoint bad{"m:one", one, "from"};
#elif CASE == 3   // name_is_not_an_identifier
inline constexpr endpoint bad{"m:one", one, "x y"};
#elif CASE == 4   // write one name for each parameter
inline constexpr endpoint bad{"m:one", one, "x", "y"};
#elif CASE == 5   // parameter's type cannot travel
inline constexpr endpoint bad{"m:one", takes_pointer, "x"};
#elif CASE == 6   // may not be a non-const reference
inline constexpr endpoint bad{"m:one", takes_reference, "x"};
#elif CASE == 7   // or is a view
inline constexpr endpoint bad{"m:one", gives_view, "x"};
#elif CASE == 8   // only declares a function
inline constexpr exposed bad = declared;
#elif CASE == 9   // an argument is missing
payload bad() { return declared.arguments(); }
#elif CASE == 10  // more arguments than the endpoint has parameters
payload bad() { return declared.arguments("a", 1, 2); }
#elif CASE == 11  // argument's type does not convert
payload bad() { return declared.arguments("a", 1.5); }
#elif CASE == 12  // argument's type does not convert
payload bad() { return declared.arguments(1); }
#elif CASE == 13  // this type cannot travel
payload bad(int* p) { return to_kwargs(kw("p", p)); }
#elif CASE == 14  // name_is_a_python_keyword
payload bad() { return to_kwargs(kw("None", 1)); }
#elif CASE == 15  // name_is_a_python_keyword
inline constexpr endpoint bad{"m:one", takes_keyword, as_kwargs};
#elif CASE == 16  // name the value on the line before
std::string bad(payload p) { return std::string(value(p).as<std::string_view>()); }
#elif CASE == 17  // deleted
std::string_view bad(payload p) { return from_payload<std::string_view>(std::move(p)); }
#elif CASE == 18  // deleted
function_name bad(std::string s) { return function_name::parse(s + ":f"); }
#elif CASE == 19  // deleted
exposed bad() { return exposed(endpoint<int()>{"m:f"}); }
#elif CASE == 20  // parameter_is_named_twice
inline constexpr endpoint<int(int, int)> bad{"m:f", "x", "x"};
#elif CASE == 21  // 12 destroys this temporary twice
payload bad() { return to_kwargs(kw("b", owning{.texts = {}})); }
#elif CASE == 22  // open it with open_context
auto bad(portal p) { return p.run(talks_e); }
#elif CASE == 23  // take its values with open_stream_from
auto bad(portal p) { return p.run(ticks_e, 1); }
#elif CASE == 24  // this endpoint is a call: use run
auto bad(portal p) {
  return p.open_context(good, 1, [](remote_context<chat>&, int) {});
}
#elif CASE == 25  // the body of a dialog is
auto bad(portal p) {
  return p.open_context(talks_e, [](int) {});
}
#elif CASE == 26  // `to_caller` of this dialog cannot travel
inline constexpr endpoint bad_e{"m:talks", talks_badly};
inline constexpr exposed bad = bad_e;
#elif CASE == 27  // the body gives none
auto bad(portal p) {
  return p.open_context(talks_e, [](remote_context<chat>&, int) { return 1; });
}
#elif CASE == 28  // deleted
auto bad(stream<owning, int>& s) { return s.send({.texts = {}}); }
#endif
