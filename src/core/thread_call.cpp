// SPDX-License-Identifier: Apache-2.0
#include "core/thread_call.hpp"

#include <system_error>
#include <utility>

#include "base/symbol.hpp"
#include "base/thread.hpp"
#include "coppice/errors.hpp"
#include "coppice/from_thread.hpp"
#include "core/text.hpp"

namespace coppice::core {

namespace {

// Trivially destructible, as all thread_local data of ours.
thread_local thread_call* call_of_this_thread = nullptr;

/// A request on its way to the loop.
class posted_request final : public inbox_item {
 public:
  posted_request(std::shared_ptr<thread_call> call, detail::thread_request& request)
      : call_(std::move(call)), request_(request) {}

  void run() override {
    const std::unique_ptr<posted_request> self(this);
    call_->asks(request_);
  }
  // The loop can only end if the call was abandoned: then nobody waits for an answer.
  void drop() noexcept override { const std::unique_ptr<posted_request> self(this); }

 private:
  const std::shared_ptr<thread_call> call_;  // Shared: the thread may have been told, and gone on.
  detail::thread_request& request_;          // Gone, if so.
};

}  // namespace

thread_call::thread_call(thread_crew& crew, std::unique_ptr<detail::thread_work> work,
                         capacity_limiter::token& token)
    : crew_(crew), loop_(crew.loop_.ref()), work_(std::move(work)), token_(token) {}

// --- the loop's

void thread_call::begin() {
  try {
    ticket_ = crew_.pool_->run([me = shared_from_this()] { return me->work_on_thread(); });
  } catch (const std::system_error& e) {
    throw error(describe() + " has no thread to run on (" + e.what() + "); lend fewer tokens: " +
                (work_->limiter != nullptr ? *work_->limiter : crew_.limiter_).describe());
  }
  begun_ = true;
}

void thread_call::tell_cancelled(const detail::task_node& by) noexcept {
  if (told_.load(std::memory_order_relaxed)) return;
  cause_ = by.scope->cause();
  told_.store(true, std::memory_order_release);
}

// A cancellation has reached the task that waits. True: the wait ends with it.
bool thread_call::give_up(const detail::task_node& by) noexcept {
  tell_cancelled(by);
  if (!begun_ || advance(phase::queued, phase::withdrawn)) {
    work_.reset();  // What it owns ends with the call.
    return true;
  }
  if (work_->policy == on_cancel::wait) return false;
  abandoned_work what{.work = work_->label(), .task = to_text(by)};  // Ours to read until then:
  if (!advance(phase::running, phase::abandoned) && !advance(phase::asking, phase::abandoned))
    return false;  // It is done, and the news is on its way.
  phase_.notify_all();
  keep(std::move(what));
  return true;
}

void thread_call::keep(abandoned_work what) noexcept {
  crew_.pool_->abandon(ticket_, "thread work '" + what.work + "', abandoned by task " + what.task +
                                    " of loop '" + crew_.loop_.name() + "'");
  token_.outlive_limiter();
  quarantine_.emplace(
      quarantine{shared_from_this(), std::move(token_), std::move(what), crew_.loop_.now()});
  crew_.abandoned_.push_back(*this);
}

void thread_call::run() {
  const auto self = std::move(posted_);
  if (phase_.load() == phase::abandoned) return crew_.give_back(*this);
  waiter_->tell(nullptr);
}

void thread_call::drop() noexcept { const auto self = std::move(posted_); }

void thread_call::asks(detail::thread_request& request) noexcept {
  if (advance(phase::asking, phase::serving)) waiter_->tell(&request);
}

void thread_call::answered() noexcept {
  phase_.store(phase::running);
  phase_.notify_all();
}

bool thread_call::news_op::begin() {
  if (waiter().cancel_visible() && call_.give_up(waiter())) return cancelled_ = true;
  if (!call_.begun_) call_.begin();
  call_.waiter_ = this;
  outside_.emplace(loop_of(waiter()));
  return false;
}

detail::thread_request* thread_call::news_op::finish() {
  if (cancelled_) waiter().throw_cancelled();
  return news_;
}

bool thread_call::news_op::abort() noexcept {
  if (!call_.give_up(waiter())) return false;
  outside_.reset();
  return true;
}

void thread_call::news_op::tell(detail::thread_request* news) noexcept {
  outside_.reset();
  news_ = news;
  wake();
}

// --- its thread's

base::worker_pool::afterwards thread_call::work_on_thread() {
  if (!advance(phase::queued, phase::running)) return {};
  const std::string name = work_->name;
  if (!name.empty()) base::set_thread_name("work/" + name);
  call_of_this_thread = this;
  work_->call();
  call_of_this_thread = nullptr;
  if (!name.empty()) base::set_thread_name(work_thread_name);
  if (!advance(phase::running, phase::done)) work_.reset();  // Abandoned: its result, too.
  return [me = shared_from_this()] { me->report_back(); };
}

void thread_call::report_back() {
  posted_ = shared_from_this();
  if (!loop_.post(*this)) posted_.reset();  // The loop has ended: it was abandoned.
}

thread_call& thread_call::here(const char* what) {
  if (loop::current() != nullptr)
    throw error(std::string(what) +
                " was called on a thread that runs a loop, which would wait for itself: call the "
                "function there, or co_await it");
  if (call_of_this_thread == nullptr)
    throw error(std::string(what) +
                " was called on a thread that is not one of to_thread(), so there is no loop that "
                "it came from: post to a loop, or use a runtime's blocking calls");
  return *call_of_this_thread;
}

void thread_call::ask(detail::thread_request& request) {
  auto item = std::make_unique<posted_request>(shared_from_this(), request);
  if (!advance(phase::running, phase::asking)) check_cancelled();  // Abandoned: throws.
  if (loop_.post(*item)) static_cast<void>(item.release());        // Ends itself.
  for (;;) {
    const phase now = phase_.load();
    if (now == phase::running) return;
    if (now == phase::abandoned) check_cancelled();
    phase_.wait(now);
  }
}

void thread_call::check_cancelled() const {
  if (told_.load(std::memory_order_acquire)) throw cancelled(cause_);
}

// --- the crew

thread_crew::thread_crew(loop& l, std::shared_ptr<base::worker_pool> shared)
    : loop_(l),
      own_(shared == nullptr),
      pool_(own_ ? std::make_shared<base::worker_pool>(work_thread_name) : std::move(shared)) {}

thread_crew::~thread_crew() {
  while (thread_call* call = abandoned_.first()) give_back(*call);
}

void thread_crew::give_back(thread_call& call) noexcept {
  call.unlink();
  const auto last = std::move(call.quarantine_->self);
  call.quarantine_.reset();
}

void thread_crew::run_ends() {
  if (own_) pool_->join_idle();
}

std::vector<abandoned_work> thread_crew::abandoned() const {
  std::vector<abandoned_work> all;
  for (auto* c = abandoned_.first(); c != nullptr; c = abandoned_.after(*c)) {
    all.push_back(c->quarantine_->what);
    all.back().since = loop_.now() - c->quarantine_->since;
  }
  return all;
}

}  // namespace coppice::core

namespace coppice {

capacity_limiter& thread_limiter() {
  core::loop* here = core::loop::current();
  if (here == nullptr)
    throw error("thread_limiter() outside of a loop: call it in a task, each loop has its own");
  return here->threads().limiter();
}

namespace detail {

std::string thread_work::label() const {
  if (!name.empty()) return name;
  std::string function = address != nullptr ? base::function_at(address) : std::string();
  return function.empty() ? base::demangled(type->name()) : function;
}

task<std::unique_ptr<thread_work>> run_on_thread(std::unique_ptr<thread_work> work) {
  task_node& self = co_await this_task{};
  core::thread_crew& crew = core::loop_of(self).threads();
  capacity_limiter& limiter = work->limiter != nullptr ? *work->limiter : crew.limiter();
  const std::string& shown = work->name.empty() ? self.name : work->name;
  const std::string key = "thread work " + std::to_string(crew.next_call()) +
                          (shown.empty() ? shown : " (" + shown + ")");
  auto token = co_await limiter.acquire_for(key);
  const auto call = std::make_shared<core::thread_call>(crew, std::move(work), token);
  for (;;) {
    thread_request* request = co_await call->news();
    if (request == nullptr) break;
    // In here, so that it is this task's: in its scopes, and awaited like all that it does.
    auto serve = [request] { return request->run(); };
    settled<void> how;
    auto serving = make_frame<void>(how, serve);
    if (serving) how = co_await captured<void>(std::move(*serving));
    if (how.error()) request->fail(how.error());
    call->answered();
  }
  co_return call->take();
}

void ask_loop(thread_request& request) {
  core::thread_call::here("from_thread::run()").ask(request);
}

}  // namespace detail

void from_thread::check_cancelled() {
  core::thread_call::here("from_thread::check_cancelled()").check_cancelled();
}

}  // namespace coppice
