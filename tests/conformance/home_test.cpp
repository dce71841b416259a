// SPDX-License-Identifier: Apache-2.0
// Where an actor lives, on every backend: its tree, its end, its folder and environment, its
// standard streams and descriptors, and what the process of its parent holds afterwards.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "base/fd.hpp"
#include "tests/conformance/kit.hpp"
#include "tests/conformance/resources.hpp"

namespace coppice::conformance {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

// --- endpoints, in C++ ---------------------------------------------------------------------------

/// What a descriptor refers to: "socket:[4711]", "/dev/null". Empty: there is no such one.
std::string target_of(int fd) {
  std::error_code ec;
  return fs::read_symlink("/proc/self/fd/" + std::to_string(fd), ec).string();
}

/// Of all but the standard streams. Those that the kernel does not tell apart are left out.
std::vector<std::string> descriptors() {
  std::vector<int> open;
  for (const auto& entry : fs::directory_iterator("/proc/self/fd"))
    open.push_back(std::stoi(entry.path().filename()));
  std::vector<std::string> found;
  for (const int fd : open)
    if (std::string at = target_of(fd); fd > 2 && !at.empty() && !at.starts_with("anon_inode:"))
      found.push_back(std::move(at));
  return found;
}

std::vector<std::string> standard_streams() {
  std::vector<std::string> found;
  for (const int fd : {0, 1, 2}) found.push_back(target_of(fd));
  return found;
}

std::string folder() { return fs::current_path(); }

std::string variable(std::string name) {
  const char* text = ::getenv(name.c_str());
  return text ? text : "";
}

/// Counts those that are up in two trees, one below each of two children.
struct growth {
  std::int64_t up = 0;
  int trees = 0;
  event both{"both trees are up"};
};

/// Starts a child, has it grow a tree, and keeps that until it is cancelled. That a busy machine
/// needs longer for a branch than a cancelled call has (500 ms) is nothing the tree stands or falls
/// by: its actors end by the ladder.
task<> limb(actor_nursery* an, const kind* k, std::int64_t depth, growth* all) {
  portal p = co_await an->start_actor("limb", options_for(*k));
  auto body = [all](remote_context<numbers>&, std::int64_t up) -> task<> {
    all->up += up;
    if (++all->trees == 2) all->both.set();
    co_await sleep_forever();
  };
  const std::string name = function(*k, "grow");
  try {
    co_await p.open_context<numbers, value>(function_name::parse(name), kw("depth", depth),
                                            kw("kind", k->name), kw("method", k->backend.text()),
                                            kw("transport", k->transport), body);
  } catch (const call_stuck&) {
  }
}

task<> grow(actor& self, context<numbers>& ctx, std::int64_t depth, std::string kind_name,
            std::string, std::string) {
  const kind k = kind_called(kind_name);
  growth all;
  auto body = [&](actor_nursery& an) -> task<> {
    if (depth > 0) {
      an.start_soon(limb, &an, &k, depth - 1, &all);
      an.start_soon(limb, &an, &k, depth - 1, &all);
      co_await all.both.wait();
    }
    co_await ctx.started(all.up + 1);
    co_await sleep_forever();
  };
  co_await open_nursery(self, body);
}

inline constexpr endpoint descriptors_e{"kit:descriptors", descriptors};
inline constexpr endpoint streams_e{"kit:standard_streams", standard_streams};
inline constexpr endpoint folder_e{"kit:folder", folder};
inline constexpr endpoint variable_e{"kit:variable", variable, "name"};
inline constexpr endpoint grow_e{"kit:grow", grow, "depth", "kind", "method", "transport"};

// --- the tests -----------------------------------------------------------------------------------

using texts = std::vector<std::string>;

class SpawnHome : public testing::TestWithParam<kind> {
 protected:
  void SetUp() override { skip_unless_built(GetParam()); }
  std::string fn(const char* name) { return function(GetParam(), name); }
  /// Runs `body(self, an)` in the root of a tree.
  template <class Body>
  int in_tree(Body body) {
    return run_tree([body](actor& self) -> task<> {
      auto inside = [&](actor_nursery& an) -> task<> { co_await body(self, an); };
      co_await open_nursery(self, inside);
    });
  }
};

INSTANTIATE_TEST_SUITE_P(, SpawnHome, testing::ValuesIn(all_kinds()), kind_name);

TEST_P(SpawnHome, ATreeOfDepthThreeAndBreadthTwoIsDownWhenItsNurseryIsCancelled) {
  const kind k = GetParam();
  growth all;
  std::chrono::steady_clock::time_point cancelled;
  EXPECT_EQ(0, in_tree([&](actor&, actor_nursery& an) -> task<> {
              an.start_soon(limb, &an, &k, 2, &all);
              an.start_soon(limb, &an, &k, 2, &all);
              co_await all.both.wait();
              cancelled = std::chrono::steady_clock::now();
              an.cancel("the tree is to fall");
            }));
  const auto took = std::chrono::steady_clock::now() - cancelled;
  EXPECT_EQ(all.up, 14);
  EXPECT_LT(took, 10s);  // A bound on hanging. How long it takes is printed.
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(took).count();
  RecordProperty("down_ms", static_cast<int>(ms));
  std::printf("  a tree of 14 actors by %s was down after %d ms\n", k.name.c_str(),
              static_cast<int>(ms));
}

TEST_P(SpawnHome, AnActorThatEndsAsAskedReportsThatItReturnedOrItsExitStatus) {
  exit_report how;
  EXPECT_EQ(0, in_tree([&](actor&, actor_nursery& an) -> task<> {
              actor_options patient = options_for(GetParam());
              // A sanitizer looks for leaks before a process ends.
              patient.stop = {.ask = 10s, .unseen = 10s, .total = 30s};
              portal p = co_await an.start_actor("subject", patient);
              how = co_await p.cancel_actor();
            }));
  EXPECT_EQ(how.rung, rung::asked) << how.text();
  EXPECT_EQ(how.how, GetParam().has_own_process() ? exit_report::cause::exited
                                                  : exit_report::cause::returned)
      << how.text();
  EXPECT_EQ(how.status, 0) << how.text();
}

TEST_P(SpawnHome, AFolderOfItsOwnIsHonouredInAProcessAndRefusedWithinOurs) {
  const std::string folder = fn("folder"), ours = fs::current_path();
  const auto options = [](const kind& k, text cwd) {
    actor_options o = options_for(k);
    o.cwd = cwd;
    return o;
  };
  std::string there, here, refusal;
  EXPECT_EQ(0, in_tree([&](actor&, actor_nursery& an) -> task<> {
              portal p = co_await an.start_actor("ours", options_for(GetParam()));
              here = co_await p.run<std::string>(function_name::parse(folder));
              auto elsewhere = [&]() -> task<> {
                portal q = co_await an.start_actor("theirs", options(GetParam(), "/usr"));
                there = co_await q.run<std::string>(function_name::parse(folder));
              };
              auto r = co_await as_result(elsewhere());
              if (auto* e = r.error<backend_unavailable>()) refusal = e->what();
            }));
  EXPECT_EQ(here, ours);
  EXPECT_EQ(fs::current_path(), ours) << "nobody has moved us";
  if (GetParam().has_own_process()) {
    EXPECT_EQ(there, "/usr") << refusal;
  } else {
    EXPECT_EQ(there, "");
    EXPECT_NE(refusal.find("working directory belongs to the whole process"), std::string::npos);
    EXPECT_NE(refusal.find("use 'process'"), std::string::npos) << refusal;
  }
}

TEST_P(SpawnHome, ItsEnvironmentIsThatOfTheMomentOfItsStart) {
  const std::string variable = fn("variable");
  constexpr const char* name = "COPPICE_TEST_OF_HOMES";
  texts seen;
  auto ask = [&](actor_nursery& an) -> task<> {
    portal p = co_await an.start_actor("subject", options_for(GetParam()));
    const std::string value = co_await p.run<std::string>(function_name::parse(variable),
                                                          kw("name", std::string_view(name)));
    seen.push_back(value);
    co_await p.cancel_actor();
  };
  EXPECT_EQ(0, in_tree([&](actor&, actor_nursery& an) -> task<> {
              co_await ask(an);  // A zygote, or a stock, is there by now.
              ::setenv(name, "later", 1);
              co_await ask(an);
              ::unsetenv(name);
              co_await ask(an);
            }));
  EXPECT_EQ(seen, (texts{"", "later", ""}));
}

/// While it lives, what this process writes to its standard streams is kept.
class captured_output {
 public:
  captured_output() : into_(::memfd_create("output", MFD_CLOEXEC)) {
    std::fflush(stdout);
    for (const int fd : {1, 2}) {
      saved_[fd - 1].reset(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
      ::dup2(into_.get(), fd);
    }
  }
  ~captured_output() { restore(); }
  std::string restore() {
    std::fflush(stdout);
    for (const int fd : {1, 2})
      if (saved_[fd - 1]) ::dup2(std::exchange(saved_[fd - 1], {}).get(), fd);
    std::string text(4096, '\0');
    text.resize(static_cast<std::size_t>(
        std::max<ssize_t>(0, ::pread(into_.get(), text.data(), text.size(), 0))));
    return text;
  }

 private:
  base::unique_fd into_;
  base::unique_fd saved_[2];
};

TEST_P(SpawnHome, ItsInputIsEmptyItsOutputIsOursAndNothingOfTheLibraryIsWrittenThere) {
  const std::string streams = fn("standard_streams"), add = fn("add");
  texts mine, its;
  captured_output output;
  const int status = in_tree([&](actor&, actor_nursery& an) -> task<> {
    mine = standard_streams();
    portal p = co_await an.start_actor("subject", options_for(GetParam()));
    its = co_await p.run<texts>(function_name::parse(streams));
    co_await p.run(function_name::parse(add), kw("x", 1), kw("y", 2));
  });
  const std::string written = output.restore();
  EXPECT_EQ(status, 0);
  EXPECT_EQ(written, "");
  if (GetParam().has_own_process()) mine[0] = "/dev/null";
  EXPECT_EQ(its, mine);
}

texts common(texts a, texts b) {
  std::ranges::sort(a);
  std::ranges::sort(b);
  texts both;
  std::ranges::set_intersection(a, b, std::back_inserter(both));
  return both;
}

TEST_P(SpawnHome, AProcessHasNoDescriptorOfItsParentsNorOfASibling) {
  if (!GetParam().has_own_process()) return;  // It has all of them.
  // Without O_CLOEXEC, as code of others opens them.
  const base::unique_fd memory(::memfd_create("the parent's", 0));
  const base::unique_fd file(::open("/proc/self/status", O_RDONLY));
  int pipe[2];
  ASSERT_EQ(::pipe(pipe), 0);
  const base::unique_fd out(pipe[0]), in(pipe[1]);
  const std::string list = fn("descriptors");
  texts mine, first, second;
  EXPECT_EQ(0, in_tree([&](actor&, actor_nursery& an) -> task<> {
              portal a = co_await an.start_actor("first", options_for(GetParam()));
              portal b = co_await an.start_actor("second", options_for(GetParam()));
              first = co_await a.run<texts>(function_name::parse(list));
              second = co_await b.run<texts>(function_name::parse(list));
              mine = descriptors();
            }));
  EXPECT_GE(mine.size(), 4u);
  EXPECT_GE(first.size(), 1u) << "its connection";
  EXPECT_EQ(common(first, mine), texts()) << testing::PrintToString(first);
  EXPECT_EQ(common(second, mine), texts()) << testing::PrintToString(second);
  EXPECT_EQ(common(first, second), texts()) << testing::PrintToString(second);
}

bool within(const resources& now, const resources& before) {
  return now.threads <= before.threads && now.processes <= before.processes &&
         now.fds <= before.fds && now.socket_files <= before.socket_files;
}

TEST_P(SpawnHome, NothingOfAnActorIsLeftInItsParentOnceItHasEnded) {
  const std::string add = fn("add");
  auto live = [&](actor_nursery& an) -> task<> {
    portal p = co_await an.start_actor("subject", options_for(GetParam()));
    co_await p.run(function_name::parse(add), kw("x", 1), kw("y", 2));
    co_await p.cancel_actor();
  };
  resources before, after;
  EXPECT_EQ(0, in_tree([&](actor&, actor_nursery& an) -> task<> {
              co_await live(an);  // What the first one brings up serves all.
              before = count_resources();
              for (int i = 0; i < 3; ++i) co_await live(an);
              // What the kernel removes has no event.
              for (int i = 0; i < 1000 && !within(after = count_resources(), before); ++i)
                co_await sleep_for(5ms);
            }));
  EXPECT_TRUE(within(after, before)) << before.text() << "; then " << after.text();
}

}  // namespace

const std::vector<exposed> endpoints_of_homes = {descriptors_e, streams_e, folder_e, variable_e,
                                                 grow_e};

}  // namespace coppice::conformance
