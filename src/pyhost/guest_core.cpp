// SPDX-License-Identifier: Apache-2.0
#include "pyhost/guest_core.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <climits>

#include "base/assert.hpp"
#include "coppice/errors.hpp"
#include "pyhost/embed.hpp"
#include "pyhost/end_modules.hpp"
#include "pyhost/guest_hooks.hpp"
#include "pyhost/internals.hpp"

namespace coppice::py {

using std::chrono::steady_clock;

std::string_view to_string(stuck_in s) noexcept {
  switch (s) {
    case stuck_in::start:
      return "the creation of its interpreter";
    case stuck_in::native_code:
      return "native code that holds its GIL";
    case stuck_in::native_wait:
      return "a native call that does not come back";
    case stuck_in::finalizer:
      return "a finalizer that does not return";
    case stuck_in::deaf:
      return "a wait that no exception reaches";
    case stuck_in::force_off:
      return "running code, and forced stops do not work in this process";
  }
  return "?";
}

guest_core::guest_core(std::shared_ptr<host_core> h, guest_options o, std::unique_ptr<guest_body> b,
                       std::shared_ptr<guest_observer> w)
    : host(std::move(h)), options(std::move(o)), observer(std::move(w)), body(std::move(b)) {
  name_ = options.name;
  calls_.reserve(16);
}

// --- requests ----------------------------------------------------------------

void guest_core::start_thread() {
  std::lock_guard lock(mutex_);  // The reaper must not look at guest_thread_ before it is assigned.
  guest_thread_ =
      base::os_thread("guest/" + name_, [self = shared_from_this()] { drive(self.get()); },
                      {.stack_bytes = options.stack_bytes});
}

void guest_core::ensure_reaper_locked() {
  if (reaper_made_) return;
  try {
    reaper_thread_ = base::os_thread("reap/" + name_, [self = shared_from_this()] { reap(self); });
    reaper_made_ = true;
  } catch (const std::exception&) {
    // No thread to be had just now. The watch has one: it tries again until there is.
    host->timers.arm(steady_clock::now() + std::chrono::milliseconds(50),
                     [self = shared_from_this()] { self->try_again_to_reap(); });
  }
}

// On the watch. A process that is out of threads or memory gets some back by what it ends, so one
// that has left is ended right here. One that waits to be alone leaves without its finalizers: a
// loop in one could not be ended.
void guest_core::try_again_to_reap() {
  {
    std::lock_guard lock(mutex_);
    ensure_reaper_locked();
    if (reaper_made_) return;
    if (phase_ == phase::closing) settle_locked(false);
    if (phase_ != phase::left && phase_ != phase::failed) return;
    reaper_made_ = true;
    reaped_by_watch_ = true;
  }
  reap(shared_from_this());
}

void guest_core::begin_stop_locked() noexcept {
  stop_wanted_.store(true);
  const auto now = steady_clock::now();
  if (first_request_ != steady_clock::time_point{}) return;
  first_request_ = now;
  if (phase_ != phase::starting) return;
  host->timers.arm(now + options.start_bound,
                   [weak = weak_from_this(), bound = options.start_bound] {
                     const auto self = weak.lock();
                     if (!self) return;
                     {
                       std::lock_guard lock(self->mutex_);
                       if (self->phase_ != phase::starting) return;
                     }
                     self->tell_stuck(stuck_in::start, bound);
                   });
}

void guest_core::request_interrupt(std::uint64_t call) noexcept {
  std::lock_guard lock(mutex_);
  if (ended_) return;
  const auto now = steady_clock::now();
  auto expires = steady_clock::time_point::max();
  if (call == any_call) {
    begin_stop_locked();
  } else {
    expires = now + options.call_window;
  }
  const auto known = std::find_if(targets_.begin(), targets_.end(),
                                  [call](const target& t) { return t.call == call; });
  if (known != targets_.end()) {
    known->expires = expires;
  } else {
    targets_.push_back({.call = call, .expires = expires, .next = now});
  }
  targets_pending_.store(true);
  ensure_reaper_locked();
  changed_.notify_all();
}

void guest_core::request_force() noexcept {
  std::lock_guard lock(mutex_);
  if (ended_) return;
  begin_stop_locked();
  want_force_ = true;
  ensure_reaper_locked();
  changed_.notify_all();
}

bool guest_core::request_abandon() noexcept {
  std::lock_guard lock(mutex_);
  if (quarantined_)
    return true;  // Before `ended_`: a second answer must not differ from the first.
  if (ended_) return false;
  begin_stop_locked();
  quarantined_ = true;
  want_force_ = true;  // When its code comes back.
  abandoned_at_ = steady_clock::now();
  host->enter_quarantine(*this, name_, stuck_text_.empty() ? "unknown" : stuck_text_);
  ensure_reaper_locked();
  changed_.notify_all();
  return true;
}

bool guest_core::finished(std::chrono::milliseconds bound) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, bound, [this] { return done_; });
}

void guest_core::handle_gone() noexcept {
  {
    std::lock_guard lock(mutex_);
    COPPICE_ASSERT(
        ended_ || quarantined_,
        "a guest_thread was destroyed while its guest is alive: stop it and wait for the "
        "observer's last call, or abandon() it");
    if (reaped_by_watch_) return;  // There is no thread to be joined.
    // Not ended, or the owner lets go in the observer's last call, on the very thread to be joined:
    // the reaper then has itself joined by the watch when it is done.
    if (!ended_ || ::pthread_equal(reaper_thread_.native(), ::pthread_self())) {
      handle_gone_ = true;
      return;
    }
  }
  reaper_thread_.join();  // It has decided: what is left of it is one observer call.
}

void guest_core::rename(std::string_view name) {
  std::lock_guard lock(mutex_);
  name_ = name;
  const auto set = [&](base::os_thread& thread, std::string_view prefix) {
    if (!thread.joinable()) return;
    const std::string full = (std::string(prefix) + name_).substr(0, 15);
    ::pthread_setname_np(thread.native(), full.c_str());
  };
  set(guest_thread_, "guest/");
  set(reaper_thread_, "reap/");
}

// --- telling the observer ----------------------------------------------------

template <class F>
void guest_core::tell(F&& call) {
  std::lock_guard one_at_a_time(observer_mutex_);
  {
    std::lock_guard lock(mutex_);
    if (ended_ || quarantined_) return;
  }
  call(*observer);
}

void guest_core::tell_stuck(stuck_in where, duration waited) noexcept {
  {
    std::lock_guard lock(mutex_);
    stuck_text_ = to_string(where);
  }
  tell([&](guest_observer& o) { o.on_stuck(where, waited); });
}

void guest_core::tell_last(rung how) {
  bool was_quarantined = false;
  duration took{}, age{};
  {
    std::lock_guard lock(mutex_);
    ended_ = true;
    was_quarantined = quarantined_;
    const auto now = steady_clock::now();
    if (first_request_ != steady_clock::time_point{}) took = now - first_request_;
    if (was_quarantined) age = now - abandoned_at_;
  }
  if (was_quarantined) host->leave_quarantine(*this);
  {
    std::lock_guard one_at_a_time(observer_mutex_);
    if (was_quarantined) {
      observer->on_reclaimed(age);
    } else if (!start_error_.empty()) {
      observer->on_start_failed(start_error_);
    } else {
      observer->on_ended(how, took);
    }
  }
  std::lock_guard lock(mutex_);
  done_ = true;
  changed_.notify_all();
  if (!handle_gone_ || reaped_by_watch_) return;
  host->timers.arm(steady_clock::now(),
                   [self = shared_from_this()] { self->reaper_thread_.join(); });
}

// --- guest thread ------------------------------------------------------------

void guest_core::set_phase(phase p) {
  std::lock_guard lock(mutex_);
  phase_ = p;
  if (p != phase::up) ensure_reaper_locked();
  changed_.notify_all();
}

// The base frame: a forced stop comes back here by siglongjmp, past every frame below. Nothing with
// a destructor may live in it.
void guest_core::drive(guest_core* self) noexcept {
  self->host->signals.open_here();
  self->guest_tid_ = static_cast<pid_t>(::syscall(SYS_gettid));
  self->thread_ident = static_cast<unsigned long>(::pthread_self());
  if (sigsetjmp(self->base_frame_, 1) != 0) return;
  if (!self->create_interpreter()) {
    self->set_phase(phase::failed);
    return;
  }
  self->run_guest();
  self->leave_python();
  self->set_phase(phase::left);
}

namespace {

// Asks for the main GIL for as long as it takes. Weak: the end of the host waits for whoever still
// holds a guest.
void keep_asking(const std::shared_ptr<guest_core>& guest) {
  guest->host->timers.arm(steady_clock::now() + std::chrono::milliseconds(50),
                          [weak = std::weak_ptr(guest)] {
                            const auto alive = weak.lock();
                            if (alive && alive->main_gil.ask_again()) keep_asking(alive);
                          });
}

PyStatus new_interpreter(guest_core& guest, PyThreadState** first,
                         const PyInterpreterConfig& config) {
  const wishing_main_gil wish(guest.main_gil);
  keep_asking(guest.shared_from_this());
  return Py_NewInterpreterFromConfig(first, &config);
}

}  // namespace

bool guest_core::create_interpreter() noexcept {
  if (is_traced()) {
    start_error_ = "guest '" + options.name +
                   "': tracemalloc traces this process, and no sub-interpreter can start under it: "
                   "stop it, or use 'forkserver' or 'process'";
    return false;
  }
  PyInterpreterConfig config{};
  const bool own = options.gil == gil_kind::own;
  config.use_main_obmalloc = options.use_main_obmalloc.value_or(!own);
  config.allow_fork = 0;
  config.allow_exec = 0;  // It would replace the process, everybody's guests included.
  config.allow_threads = 1;
  config.allow_daemon_threads = 1;  // trio.to_thread needs them; ending them is ours.
  config.check_multi_interp_extensions = own || !config.use_main_obmalloc;
  config.gil = own ? PyInterpreterConfig_OWN_GIL : PyInterpreterConfig_SHARED_GIL;
  live_interpreters().fetch_add(1);  // Before: a .pth file may run code in it already.
  PyThreadState* first = nullptr;
  const PyStatus status = new_interpreter(*this, &first, config);
  if (PyStatus_Exception(status) || !first) {
    live_interpreters().fetch_sub(1);
    start_error_ = "guest '" + options.name + "': CPython made no interpreter: " +
                   (status.err_msg ? status.err_msg : "no reason given");
    return false;
  }
  interpreter_ = PyThreadState_GetInterpreter(first);
  // The first thread state lies inside the interpreter's struct and would be freed with it, under a
  // parked thread. A guest runs on one from the heap.
  PyThreadState* mine = PyThreadState_New(interpreter_);
  COPPICE_ASSERT(mine, "no memory for a guest's thread state");
  PyThreadState_Swap(mine);
  PyThreadState_Clear(first);
  PyThreadState_Delete(first);
  guest_state_ = mine;
  if (!install_guest_hooks(*this, false) || !note_originals()) {
    PyErr_Clear();
    start_error_ =
        "guest '" + options.name + "': its interpreter could not be prepared (no memory?)";
  }
  host->started.fetch_add(1);
  host->live.fetch_add(1);
  return true;
}

void guest_core::run_guest() noexcept {
  bool wanted = false;
  {
    std::lock_guard lock(mutex_);
    phase_ = phase::up;
    wanted = !stop_wanted_ && start_error_.empty();
    changed_.notify_all();
  }
  if (!wanted) return;  // Stopped while it started: its code never runs.
  PyThreadState* mine = PyEval_SaveThread();
  tell([](guest_observer& o) { o.on_running(); });
  PyEval_RestoreThread(mine);
  body->run(side);
  PyEval_SaveThread();
  tell([](guest_observer& o) { o.on_returned(); });
  PyEval_RestoreThread(mine);
  run_exit_hooks();
  run_finalizers();
}

namespace {

// Calls module.function() if the module was imported at all. An error is reported the way CPython
// reports one that nobody can handle; Interrupted, which is us, is not.
void call_exit_hook(const char* module, const char* function) noexcept {
  PyObject* m = PyDict_GetItemString(PyImport_GetModuleDict(), module);
  if (!m) return;
  Py_INCREF(m);
  PyObject* result = PyObject_CallMethod(m, function, nullptr);
  if (!result) {
    PyObject* interrupted = interrupted_type();
    if (interrupted && PyErr_ExceptionMatches(interrupted)) {
      PyErr_Clear();
    } else {
      PyErr_WriteUnraisable(m);
    }
  }
  Py_XDECREF(result);
  Py_DECREF(m);
}

void flush(const char* name) noexcept {
  PyObject* file = PySys_GetObject(name);
  if (!file || file == Py_None) return;
  Py_INCREF(file);
  PyObject* result = PyObject_CallMethod(file, "flush", nullptr);
  if (!result) PyErr_Clear();
  Py_XDECREF(result);
  Py_DECREF(file);
}

}  // namespace

// What CPython would run at an interpreter's end, here on the guest's own thread and under its
// ladder: the reaper runs no code of the guest.
void guest_core::run_exit_hooks() noexcept {
  PyErr_Clear();
  // A strike that came too late for the body must not eat the first exit hook: they get a gap's
  // time.
  PyThreadState_SetAsyncExc(thread_ident, nullptr);
  {
    std::lock_guard lock(mutex_);
    for (target& t : targets_) t.raised = steady_clock::now();
  }
  call_exit_hook("threading", "_shutdown");
  call_exit_hook("atexit", "_run_exitfuncs");
  flush("stdout");
  flush("stderr");
}

// Py_EndInterpreter would run them on the reaper's thread, where nothing could end a loop in one.
void guest_core::run_finalizers() noexcept {
  if (!wait_until_alone()) return;
  end_modules();
  flush("stdout");
  flush("stderr");
}

// Until the reaper has parked all other threads, as CPython does before it runs finalizers. False:
// they are not to run. A guest that is forced does not come back.
bool guest_core::wait_until_alone() noexcept {
  PyThreadState* mine = PyEval_SaveThread();
  bool may_run = false;
  {
    std::unique_lock lock(mutex_);
    phase_ = phase::closing;
    ensure_reaper_locked();
    changed_.notify_all();
    changed_.wait(lock, [this] { return settled_; });
    may_run = finalizers_run_;
  }
  PyEval_RestoreThread(mine);
  return may_run;
}

void guest_core::settle(bool run_finalizers) {
  std::lock_guard lock(mutex_);
  settle_locked(run_finalizers);
}

void guest_core::settle_locked(bool run_finalizers) {
  if (settled_) return;
  settled_ = true;
  finalizers_run_ = run_finalizers;
  settled_at_ = steady_clock::now();
  changed_.notify_all();
}

void guest_core::leave_python() noexcept {
  PyThreadState* mine = guest_state_;
  PyThreadState_Clear(mine);  // Runs finalizers of thread-locals: still under the ladder.
  guest_state_ = nullptr;
  PyThreadState_DeleteCurrent();
}

void guest_core::begin_call(std::uint64_t n) noexcept {
  COPPICE_ASSERT(n != any_call, "a call's number is not 0");
  PyThreadState* mine = PyThreadState_Get();
  // Sent to the call around this one, and not raised yet: that one will be struck again when this
  // is over.
  if (async_exception_pending(mine) && !stopping()) {
    PyThreadState_SetAsyncExc(thread_ident, nullptr);
  }
  calls_.push_back(n);
  innermost_.store(n);
  if (!targets_pending_.load()) return;
  std::lock_guard lock(mutex_);
  changed_.notify_all();
}

void guest_core::end_call(std::uint64_t n) noexcept {
  COPPICE_ASSERT(!calls_.empty() && calls_.back() == n,
                 "end_call() of a call that is not the innermost");
  calls_.pop_back();
  const std::uint64_t outer = calls_.empty() ? any_call : calls_.back();
  innermost_.store(outer);
  PyThreadState* mine = PyThreadState_Get();
  if (async_exception_pending(mine) && !stopping()) {
    PyThreadState_SetAsyncExc(thread_ident, nullptr);
  }
  if (!targets_pending_.load()) return;
  std::lock_guard lock(mutex_);
  std::erase_if(targets_, [n](const target& t) { return t.call == n; });
  for (target& t : targets_) {
    if (outer != any_call && t.call == outer) t.raised = {}, t.next = steady_clock::now();
  }
  targets_pending_.store(!targets_.empty());
  changed_.notify_all();
}

void guest_core::wake_sleeper() noexcept {
  sleep_word.fetch_add(1);
  ::syscall(SYS_futex, &sleep_word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

// --- the two faces -----------------------------------------------------------

void guest_side::begin_call(std::uint64_t n) noexcept { core_.begin_call(n); }
void guest_side::end_call(std::uint64_t n) noexcept { core_.end_call(n); }
bool guest_side::stopping() const noexcept { return core_.stopping(); }

std::unique_ptr<guest_thread> guest_thread::start(guest_host& host, guest_options options,
                                                  std::unique_ptr<guest_body> body,
                                                  std::shared_ptr<guest_observer> observer) {
  COPPICE_ASSERT(body && observer, "a guest needs a body and an observer");
  if (options.gil == gil_kind::own && options.use_main_obmalloc.value_or(false)) {
    throw backend_unavailable("guest '" + options.name +
                              "': use_main_obmalloc with an own GIL corrupts memory (two GILs "
                              "would guard one allocator); "
                              "leave it unset, or choose gil='shared'");
  }
  auto core = std::make_shared<guest_core>(host.core(), std::move(options), std::move(body),
                                           std::move(observer));
  core->start_thread();
  // tidy: allow new: its constructor is private, so make_unique cannot
  return std::unique_ptr<guest_thread>(new guest_thread(std::move(core)));
}

guest_thread::~guest_thread() { core_->handle_gone(); }
void guest_thread::interrupt(std::uint64_t call) noexcept { core_->request_interrupt(call); }
void guest_thread::force() noexcept { core_->request_force(); }
bool guest_thread::abandon() noexcept { return core_->request_abandon(); }
bool guest_thread::join_for(std::chrono::milliseconds bound) { return core_->finished(bound); }
void guest_thread::rename(std::string_view name) { core_->rename(name); }

}  // namespace coppice::py
