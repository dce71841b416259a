// SPDX-License-Identifier: Apache-2.0
// tractor's scenarios of actors that serve others, are found by them, or get lost; see
// tests/SCENARIOS.md.
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>

#include "coppice/handle_errors.hpp"
#include "tests/conformance/breaks.hpp"
#include "tests/conformance/scenario.hpp"

namespace coppice::conformance {

using namespace std::chrono_literals;

// --- a service that starts actors for others -----------------------------------------------------

struct echo_of {  // Who said it, and what.
  uid who;
  std::int64_t number = 0;
};
struct echoes {
  using started = uid;
  using to_callee = echo_of;
  using to_caller = echo_of;
};
struct service {
  using started = std::string;
  using to_callee = std::string;
  using to_caller = uid;
};

namespace {

task<> echo_server(actor& self, context<echoes>& ctx, std::optional<std::int64_t> fail_after) {
  co_await ctx.started(self.id());
  auto s = ctx.open_stream();
  while (auto heard = co_await s.receive()) {
    const echo_of answer{self.id(), heard->number};
    co_await s.send(answer);
    if (fail_after && heard->number > *fail_after) throw std::runtime_error("simulated");
  }
}
inline constexpr endpoint echo_server_e{"kit:echo_server", echo_server, "fail_after"};

task<> tell_little_bro(actor& self, std::optional<std::int64_t> fail_after) {
  found_actor bro = co_await wait_for_actor(self, "little_bro");
  std::int64_t echoed = 0;
  auto body = [&](remote_context<echoes>& ctx, const uid& who) -> task<> {
    auto s = ctx.open_stream();
    for (; echoed < 100; ++echoed) {
      const echo_of said{self.id(), echoed};
      co_await s.send(said);
      auto heard = co_await s.receive();
      if (!heard) co_return;  // Why it has ended, its dialog says.
      if (heard->who != who || heard->number != echoed) throw std::logic_error("another's echo");
    }
  };
  co_await bro->open_context(echo_server_e, fail_after, body);
  if (echoed != 100) throw std::logic_error("it has stopped");
}

task<> serve_subactors(actor& self, context<service>& ctx, std::string backend) {
  auto body = [&](actor_nursery& an) -> task<> {
    const std::string word = "serving";
    co_await ctx.started(word);
    auto s = ctx.open_stream();
    const kind wanted = kind_called(backend);
    while (auto name = co_await s.receive()) {
      portal p = co_await an.start_actor(*name, options_for(wanted));
      const uid who = p.id();
      co_await s.send(who);
    }
  };
  co_await open_nursery(self, body);
}
inline constexpr endpoint serve_e{"kit:serve_subactors", serve_subactors, "backend"};

task<> asks_for_a_bro(actor& self, context<service>& ctx, std::string backend,
                      std::optional<std::int64_t> fail_after) {
  found_actor server = co_await wait_for_actor(self, "spawn_server");
  auto body = [&](remote_context<service>& serving, const std::string&) -> task<> {
    const std::string yes = "yup", name = "little_bro";
    co_await ctx.started(yes);
    auto s = serving.open_stream();
    co_await s.send(name);
    auto who = co_await s.receive();
    if (!who || who->name != name) throw std::logic_error("another one was started");
    co_await tell_little_bro(self, fail_after);
    auto told = ctx.open_stream();
    co_await told.send(*who);
    co_await sleep_forever();
  };
  co_await server->open_context(serve_e, backend, body);
}
inline constexpr endpoint asks_e{"kit:asks_for_a_bro", asks_for_a_bro, "backend", "fail_after"};

struct visit {
  bool done = true;
  bool bro_is_gone = false;
  std::string canceller;
  std::string heard_of;  // From the client, when it has heard all its echoes.
};

// "spawn_server", "client" and this actor, all of which talk to the one that the first started.
task<> visit_family(actor& self, kind k, std::string backend_of_bro,
                    std::optional<std::int64_t> fail_after, visit* out) {
  auto inside = [&](actor_nursery& an) -> task<> {
    portal server = co_await an.start_actor("spawn_server", options_for(k));
    portal client = co_await an.start_actor("client", options_for(k));
    auto with_client = [&](remote_context<service>& ctx, const std::string&) -> task<> {
      auto told = co_await as_result(tell_little_bro(self, std::nullopt));
      // Its nursery may end while we talk to it.
      const bool may_fail = fail_after && (told.error<transport_closed>() != nullptr ||
                                           told.error<context_cancelled>() != nullptr);
      if (!may_fail) told.value();
      auto s = ctx.open_stream();
      if (auto who = co_await s.receive()) out->heard_of = who->name;
      if (!fail_after) ctx.cancel();
      auto resting = detail::take(rest());
      auto how = co_await detail::captured<void>(std::move(resting));
      if (ctx.canceller()) out->canceller = ctx.canceller()->name;
      std::rethrow_exception(how.error());
    };
    auto with_server = [&](remote_context<service>& serving, const std::string&) -> task<> {
      out->done = co_await client.open_context(asks_e, backend_of_bro, fail_after, with_client);
      serving.cancel();
    };
    co_await server.open_context(serve_e, backend_of_bro, with_server);
    found_actor gone = co_await find_actor(self, "little_bro");
    const auto where = co_await query_actor(self, "little_bro");
    out->bro_is_gone = !gone && where.empty();
  };
  co_await open_nursery(self, inside);
}

std::vector<std::string> backends_of_bro(const kind& k) {
  std::vector<std::string> out{"thread"};
  if (k.name != out.front()) out.push_back(k.name);
  return out;
}

TEST_P(Scenario, PeerSpawnsAndCancelsServiceSubactor) {
  const kind k = GetParam();
  for (const std::string& backend : backends_of_bro(k)) {
    visit v;
    EXPECT_EQ(0, run_tree([&](actor& self) -> task<> {
                co_await visit_family(self, k, backend, std::nullopt, &v);
              }));
    EXPECT_FALSE(v.done) << backend;
    EXPECT_EQ(v.heard_of, "little_bro") << backend;
    EXPECT_EQ(v.canceller, "root") << backend;
    EXPECT_TRUE(v.bro_is_gone) << backend;
  }
}

TEST_P(Scenario, PeerSpawnsAndCancelsServiceSubactorThatFails) {
  const kind k = GetParam();
  for (const std::string& backend : backends_of_bro(k)) {
    visit v;
    std::optional<remote_error_info> error;
    EXPECT_EQ(0, run_tree([&](actor& self) -> task<> {
                auto r = co_await as_result(visit_family(self, k, backend, 50, &v));
                if (auto* e = r.error<remote_actor_error>()) error = e->info();
              }));
    ASSERT_TRUE(error) << backend;
    EXPECT_EQ(error->source_type, "RuntimeError") << backend;
    EXPECT_EQ(error->source.name, "little_bro") << backend;
    EXPECT_EQ(error->type, "RemoteActorError") << backend;
    EXPECT_EQ(error->message, "simulated") << backend;
    ASSERT_FALSE(error->path.empty()) << backend;
    EXPECT_EQ(error->path.back().name, "client") << backend;
  }
}

// --- registrars ----------------------------------------------------------------------------------

/// Where nobody listens: a file in a folder of its own, or a port that was free a moment ago.
class free_place {
 public:
  explicit free_place(bool tcp) : host_("127.0.0.1") {
    if (!tcp) {
      char name[] = "/tmp/cpc-XXXXXX";
      if (const char* made = ::mkdtemp(name)) host_ = made;
      return;
    }
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(0, ::bind(fd, reinterpret_cast<const sockaddr*>(&at), sizeof at));
    EXPECT_EQ(0, ::getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size));
    ::close(fd);
    port_ = ntohs(at.sin_port);
  }
  free_place(const free_place&) = delete;
  free_place& operator=(const free_place&) = delete;
  ~free_place() {
    if (port_ == 0) std::filesystem::remove_all(host_);
  }

  std::string last() const { return port_ ? std::to_string(port_) : "nobody.sock"; }
  /// As users write it.
  std::string text() const {
    return "('" + host_ + "', " + (port_ ? last() : "'" + last() + "'") + ")";
  }
  /// As it travels.
  value wire() const {
    if (port_) return value::of(std::pair(host_, std::int64_t(port_)));
    return value::of(std::pair(host_, last()));
  }

 private:
  std::string host_;
  int port_ = 0;
};

/// This program as a registrar: another process, which is none of the runtime's.
class registrar_program {
 public:
  explicit registrar_program(std::string address) {
    int ends[2];
    EXPECT_EQ(0, ::pipe2(ends, O_CLOEXEC));
    out_ = ends[0];
    char program[] = "/proc/self/exe", flag[] = "--registrar";
    char* argv[] = {program, flag, address.data(), nullptr};
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    EXPECT_EQ(0, ::posix_spawn(&pid_, program, &actions, nullptr, argv, environ));
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(ends[1]);
  }
  registrar_program(const registrar_program&) = delete;
  registrar_program& operator=(const registrar_program&) = delete;
  ~registrar_program() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    ::close(out_);
  }

  bool wait_until_up() const { return said() == 1; }
  /// As waitpid() tells it, which has reaped it then; none: it does not end.
  std::optional<int> wait() {
    if (said() != 0) return std::nullopt;
    int status = 0;
    if (::waitpid(pid_, &status, 0) != pid_) return std::nullopt;
    pid_ = 0;
    return status;
  }

 private:
  // 1: a byte; 0: it has closed its stdout, as its end does; -1: nothing.
  ssize_t said() const {
    pollfd waiting{.fd = out_, .events = POLLIN, .revents = 0};
    char byte = 0;
    return ::poll(&waiting, 1, 20'000) == 1 ? ::read(out_, &byte, 1) : -1;
  }

  int out_ = -1;
  pid_t pid_ = 0;
};

// Ends the registrar at `at`, and looks for it until nobody is there: what the refusal says.
task<std::string> ends_registrar(actor& self, std::string at) {
  auto find = [&]() -> task<found_actor> {
    co_return co_await find_actor(self, "registrar", {.registry_addrs = {at}});
  };
  auto end = [&]() -> task<> {
    found_actor registrar = co_await find();
    if (!registrar) throw std::logic_error("it is not registered");
    co_await registrar->cancel_actor();
  };
  co_await end();
  for (;;) {
    auto r = co_await as_result(find());
    if (auto* e = r.error<transport_closed>()) {
      std::string said = e->what();
      co_return said;
    }
    co_await sleep_for(1ms);
  }
}
inline constexpr endpoint ends_registrar_e{"kit:ends_registrar", ends_registrar, "at"};

TEST_P(Scenario, CancelRemoteRegistrar) {
  const free_place place(GetParam().transport == "tcp");
  registrar_program program(place.text());
  ASSERT_TRUE(program.wait_until_up());
  std::string said;
  with_actor([&](actor&, portal p) -> task<> {
    const std::string at = place.text();
    said = co_await fail_after(10s, p.run(ends_registrar_e, at));
  });
  EXPECT_NE(said.find(place.last()), std::string::npos) << said;
  const auto status = program.wait();
  ASSERT_TRUE(status);
  EXPECT_TRUE(WIFEXITED(*status)) << *status;
  EXPECT_EQ(WEXITSTATUS(*status), 0);
}

}  // namespace

struct hunt {
  std::vector<std::string> listed;
  bool was_found = true;
  std::vector<std::string> listed_later;
};

namespace {

// Registers an actor that there is not, and looks for it.
task<hunt> hunts_a_ghost(actor& self, value addr) {
  hunt out;
  const uid ghost{"ghost", "no-such-uuid"};
  found_actor registrar = co_await find_actor(self, "root");
  co_await registrar->run("self:register_actor", kw("uid", ghost), kw("addr", addr));
  out.listed = co_await query_actor(self, "ghost");
  found_actor found = co_await find_actor(self, "ghost");
  out.was_found = bool(found);
  out.listed_later = co_await query_actor(self, "ghost");
  co_return out;
}
inline constexpr endpoint hunts_e{"kit:hunts_a_ghost", hunts_a_ghost, "addr"};

TEST_P(Scenario, StaleEntryIsDeleted) {
  const free_place place(GetParam().transport == "tcp");
  hunt h;
  std::vector<std::string> names;
  with_actor([&](actor& self, portal p) -> task<> {
    const value addr = place.wire();
    h = co_await p.run(hunts_e, addr);
    const auto all = co_await get_registry(self);
    for (const auto& [key, at] : all) names.push_back(key.substr(0, key.find('.')));
  });
  EXPECT_EQ(h.listed, std::vector<std::string>{place.text()});
  EXPECT_FALSE(h.was_found);
  EXPECT_EQ(h.listed_later, std::vector<std::string>{});
  EXPECT_EQ(names, (std::vector<std::string>{"root", "subject"}));
}

}  // namespace

// --- publisher and consumers ---------------------------------------------------------------------

struct news {
  bool begins = false;  // Instead of a value: from here on it is what was asked for last.
  std::int64_t value = 0;
};
struct feed {
  using started = void;
  using to_callee = std::vector<std::string>;  // The topics that are wanted from now on.
  using to_caller = news;
};

namespace {

bool is_of(const std::vector<std::string>& topics, std::int64_t value) {
  return std::ranges::find(topics, value % 2 ? "odd" : "even") != topics.end();
}

struct board {  // The publisher's.
  broadcast_channel<std::int64_t> values{4096, "values"};
};
struct readings {  // A consumer's.
  std::vector<std::int64_t> values;
};

task<> publish(actor& self) {
  for (std::int64_t i = 0;; ++i) {
    self.local<board>().values.send(i);
    co_await sleep_for(1ms);
  }
}

task<> subscribe(actor& self, context<feed>& ctx) {
  co_await ctx.started();
  auto s = ctx.open_stream();
  auto values = self.local<board>().values.subscribe();
  std::vector<std::string> wanted;
  auto forward = [&]() -> task<> {
    while (auto v = co_await values.receive()) {
      if (!is_of(wanted, *v)) continue;
      const news one{.value = *v};
      co_await s.send(one);
    }
  };
  auto inside = [&](nursery& n) -> task<> {
    n.start_soon(forward);
    while (auto topics = co_await s.receive()) {
      wanted = std::move(*topics);
      const news begins{.begins = true};
      co_await s.send(begins);
    }
    n.cancel();
  };
  co_await open_nursery(inside);
}
inline constexpr endpoint publish_e{"kit:publish", publish};
inline constexpr endpoint subscribe_e{"kit:subscribe", subscribe};

// For ever; with `rounds_of`, the other topic after as many values.
task<> consume(actor& self, std::vector<std::string> wanted, std::optional<std::int64_t> rounds) {
  auto& seen = self.local<readings>().values;
  found_actor publisher = co_await wait_for_actor(self, "publisher");
  auto body = [&](remote_context<feed>& ctx) -> task<> {
    auto s = ctx.open_stream();
    for (;;) {
      co_await s.send(wanted);
      for (bool begun = false; !begun;) {  // What was under way when we changed our mind.
        auto one = co_await s.receive();
        if (!one) co_return;
        begun = one->begins;
      }
      for (std::int64_t n = 0; !rounds || n < *rounds; ++n) {
        auto one = co_await s.receive();
        if (!one) co_return;
        if (!is_of(wanted, one->value)) throw std::logic_error("nobody asked for that");
        seen.push_back(one->value);
      }
      wanted.front() = wanted.front() == "even" ? "odd" : "even";
    }
  };
  co_await publisher->open_context(subscribe_e, body);
}
std::vector<std::int64_t> what_was_read(actor& self) { return self.local<readings>().values; }
inline constexpr endpoint consume_e{"kit:consume", consume, "wanted", "rounds_of"};
inline constexpr endpoint read_e{"kit:what_was_read", what_was_read};

using read_by_all = std::vector<std::vector<std::int64_t>>;

task<> keep_publishing(portal p) { co_await p.run(publish_e); }
task<> keep_consuming(portal p, std::vector<std::string> wanted, std::optional<std::int64_t> of) {
  co_await p.run(consume_e, wanted, of);
}

// Until everybody has read 30 values. Then: an error of the user, or the end of `leaving`.
task<> pub_sub(actor& self, kind k, cancel_scope* leaving, read_by_all* got) {
  auto inside = [&](actor_nursery& an) -> task<> {
    portal publisher = co_await an.start_actor("publisher", options_for(k));
    std::vector<portal> consumers;
    for (const char* name : {"consumer_0", "consumer_1", "consumer_2"}) {
      portal p = co_await an.start_actor(name, options_for(k));
      consumers.push_back(p);
    }
    const std::vector<std::string> even{"even"}, both{"even", "odd"};
    an.start_soon(keep_publishing, publisher);
    an.start_soon(keep_consuming, consumers[0], even, std::nullopt);
    an.start_soon(keep_consuming, consumers[1], both, std::nullopt);
    an.start_soon(keep_consuming, consumers[2], even, 6);
    for (bool enough = false; !enough;) {
      co_await sleep_for(10ms);
      got->clear();
      for (portal p : consumers) {
        auto values = co_await p.run(read_e);
        got->push_back(std::move(values));
      }
      enough = std::ranges::all_of(*got, [](const auto& values) { return values.size() >= 30; });
    }
    if (leaving == nullptr) throw std::domain_error("the user leaves");
    leaving->set_deadline(std::chrono::steady_clock::now() + 20ms);
    co_await sleep_forever();
  };
  co_await open_nursery(self, inside);
}

void expect_topics(const read_by_all& got) {
  ASSERT_EQ(got.size(), 3u);
  for (std::size_t i = 1; i < got[0].size(); ++i) EXPECT_EQ(got[0][i], got[0][i - 1] + 2);
  for (std::size_t i = 1; i < got[1].size(); ++i) EXPECT_EQ(got[1][i], got[1][i - 1] + 1);
  for (std::size_t i = 0; i < got[2].size(); ++i)
    EXPECT_EQ(got[2][i] % 2, static_cast<std::int64_t>(i / 6 % 2)) << i;
}

TEST_P(Scenario, DynamicPubSub) {
  const kind k = GetParam();
  std::string left_by;
  bool finished = true;
  read_by_all got, again;
  EXPECT_EQ(0, run_tree([&](actor& self) -> task<> {
              auto r = co_await as_result(fail_after(20s, pub_sub(self, k, nullptr, &got)));
              if (auto* e = r.error<std::domain_error>()) left_by = e->what();
              auto until_timeout = [&](cancel_scope& scope) -> task<> {
                co_await pub_sub(self, k, &scope, &again);
              };
              finished = co_await move_on_after(20s, until_timeout);
            }));
  EXPECT_EQ(left_by, "the user leaves");
  EXPECT_FALSE(finished);
  expect_topics(got);
  expect_topics(again);
}

// --- a connection that breaks --------------------------------------------------------------------

// Closes its stream, then breaks its connection, and does not look at anything any more.
task<> closes_and_breaks(context<numbers>& ctx) {
  co_await ctx.started(1);
  auto s = ctx.open_stream();
  (void)co_await s.receive();
  s.close();
  break_connection("cut");
  for (;;) ::pause();
}
inline constexpr endpoint closes_and_breaks_e{"kit:closes_and_breaks", closes_and_breaks};

// How many errors of the user are in `e`; all others are that the actor was lost.
int errors_of_user(const std::exception_ptr& e) {
  int mine = 0;
  try {
    if (e) std::rethrow_exception(e);
  } catch (...) {
    handle_errors([&](const std::domain_error&) { ++mine; }, [](const transport_closed&) {});
  }
  return mine;
}

class BrokenScenario : public Scenario {};
std::vector<kind> kinds_that_break() {  // Memory does not.
  std::vector<kind> out = native_kinds();
  std::erase_if(out, [](const kind& k) { return !k.has_own_process(); });
  return out;
}
INSTANTIATE_TEST_SUITE_P(, BrokenScenario, testing::ValuesIn(kinds_that_break()), kind_name);

TEST_P(BrokenScenario, StreamClosedRightAfterIpcBreakAndZombieLordEngages) {
  int mine = 0;
  std::chrono::steady_clock::duration took{};
  EXPECT_EQ(0, run_tree([&](actor& self) -> task<> {
              std::chrono::steady_clock::time_point began;
              auto inside = [&](actor_nursery& an) -> task<> {
                portal p = co_await an.start_actor("zombie", options_for(GetParam()));
                began = std::chrono::steady_clock::now();
                auto body = [](remote_context<numbers>& ctx, std::int64_t) -> task<> {
                  auto s = ctx.open_stream();
                  auto say = [&]() -> task<> { co_await s.send(1); };
                  co_await finally(say(), {.within = 1s}, sleep_for(200ms));
                  throw std::domain_error("the user leaves");
                };
                co_await p.open_context(closes_and_breaks_e, body);
              };
              auto block = [&]() -> task<> { co_await open_nursery(self, inside); };
              auto r = co_await as_result(block());
              took = std::chrono::steady_clock::now() - began;
              mine = errors_of_user(r.exception());
            }));
  EXPECT_EQ(mine, 1);
  EXPECT_LT(took, 5s);
  if (std::getenv("COPPICE_SHOW_TIMES"))
    std::printf("took %.2f ms\n", std::chrono::duration<double, std::milli>(took).count());
}

// --- errors of the program's own -----------------------------------------------------------------

struct refused : error {
  using error::error;
};

}  // namespace

struct unlisted : error {  // Travels under its C++ name.
  using error::error;
};

}  // namespace coppice::conformance

template <>
struct coppice::wire_name<coppice::conformance::refused> {
  static constexpr std::string_view value = "Refused";
};

namespace coppice::conformance {
namespace {

void refuse(bool listed) {
  if (listed) throw refused("no credit");
  throw unlisted("no credit either");
}
inline constexpr endpoint refuse_e{"kit:refuse", refuse, "listed"};

// What unwrap() makes of it.
std::string class_of(const remote_actor_error& e, std::span<const error_kind> kinds) {
  try {
    std::rethrow_exception(e.unwrap(kinds));
  } catch (const refused& mine) {
    return std::string("refused: ") + mine.what();
  } catch (const remote_actor_error&) {
    return "itself";
  } catch (...) {
    return describe_exception(std::current_exception());
  }
}

TEST_P(Scenario, RegErrTypes) {
  std::vector<std::string> types, messages, classes, unknown_here;
  with_actor([&](actor&, portal p) -> task<> {
    for (const bool listed : {true, false}) {
      auto r = co_await as_result(p.run(refuse_e, listed));
      auto* e = r.error<remote_actor_error>();
      if (!e) continue;
      types.push_back(e->source_type());
      messages.push_back(e->message());
      classes.push_back(class_of(*e, errors_of_services));
      unknown_here.push_back(class_of(*e, {}));
    }
  });
  EXPECT_EQ(types, (std::vector<std::string>{"Refused", "coppice::conformance::unlisted"}));
  EXPECT_EQ(messages, (std::vector<std::string>{"no credit", "no credit either"}));
  EXPECT_EQ(classes, (std::vector<std::string>{"refused: no credit", "itself"}));
  EXPECT_EQ(unknown_here, (std::vector<std::string>{"itself", "itself"}));
}

}  // namespace

const std::vector<exposed> endpoints_of_services = {
    echo_server_e, serve_e,   asks_e, ends_registrar_e,    hunts_e, publish_e,
    subscribe_e,   consume_e, read_e, closes_and_breaks_e, refuse_e};
const std::vector<error_kind> errors_of_services = {error_type<refused>};

}  // namespace coppice::conformance
