// SPDX-License-Identifier: Apache-2.0
#include "pyhost/guest_test_kit.hpp"

#include <dirent.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <filesystem>
#include <iterator>
#include <sstream>
#include <thread>

#include "base/file_text.hpp"
#include "pyhost/buffer_object.hpp"
#include "pyhost/cpp_frames_for_test.hpp"

namespace coppice::py::testkit {

using std::chrono::steady_clock;

bool eventually(const std::function<bool()>& condition, std::chrono::milliseconds bound) {
  const auto until = steady_clock::now() + bound;
  while (!condition()) {
    if (steady_clock::now() >= until) return false;
    std::this_thread::sleep_for(1ms);  // tidy: allow sleep: /proc announces nothing
  }
  return true;
}

namespace {

std::vector<std::string> entries(const char* folder) {
  std::vector<std::string> names;
  DIR* d = ::opendir(folder);
  const std::string own = std::to_string(::dirfd(d));
  while (const dirent* e = ::readdir(d)) {
    if (e->d_name[0] != '.' && own != e->d_name) names.emplace_back(e->d_name);
  }
  ::closedir(d);
  return names;
}

std::string difference(const std::set<std::string>& now, const std::set<std::string>& before) {
  std::vector<std::string> more;
  std::set_difference(now.begin(), now.end(), before.begin(), before.end(),
                      std::back_inserter(more));
  std::string text;
  for (const auto& m : more) text += m + "; ";
  return text;
}

}  // namespace

possessions possessions::now() {
  possessions p;
  for (const auto& tid : entries("/proc/self/task")) {
    std::string name = base::file_text("/proc/self/task/" + tid + "/comm");
    if (name.empty()) continue;  // Ended while we looked.
    name.pop_back();
    p.threads.insert(tid + " " + name);
    std::istringstream children(base::file_text("/proc/self/task/" + tid + "/children"));
    p.children += static_cast<std::size_t>(std::distance(
        std::istream_iterator<std::string>(children), std::istream_iterator<std::string>()));
  }
  for (const auto& fd : entries("/proc/self/fd")) {
    char target[PATH_MAX] = {};
    if (::readlink(("/proc/self/fd/" + fd).c_str(), target, sizeof target - 1) < 0) continue;
    p.fds.insert(fd + " " + target);
  }
  return p;
}

std::string possessions::more_than(const possessions& before) const {
  std::string text;
  if (const auto t = difference(threads, before.threads); !t.empty()) text += "threads: " + t;
  if (const auto f = difference(fds, before.fds); !f.empty()) text += "fds: " + f;
  if (children > before.children)
    text += std::to_string(children - before.children) + " child processes";
  return text;
}

void possessions::forget_folders() {
  std::erase_if(fds, [](const std::string& fd) {
    return std::filesystem::is_directory(fd.substr(fd.find(' ') + 1));
  });
}

// --- recorder ----------------------------------------------------------------

void recorder::note(const std::string& event) {
  std::lock_guard lock(mutex_);
  events_.push_back(event);
  changed_.notify_all();
}

void recorder::on_stuck(stuck_in where, duration) noexcept {
  const char* name = "?";
  switch (where) {
    case stuck_in::start:
      name = "start";
      break;
    case stuck_in::native_code:
      name = "native_code";
      break;
    case stuck_in::native_wait:
      name = "native_wait";
      break;
    case stuck_in::finalizer:
      name = "finalizer";
      break;
    case stuck_in::deaf:
      name = "deaf";
      break;
    case stuck_in::force_off:
      name = "force_off";
      break;
  }
  note(std::string("stuck ") + name);
}

void recorder::on_start_failed(std::string_view text) noexcept {
  failure = text;
  note("start_failed");
}

void recorder::on_ended(rung h, duration t) noexcept {
  how = h;
  took = t;
  note("ended");
}

bool recorder::wait_for(const std::string& event, std::chrono::milliseconds bound) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, bound, [&] {
    return std::find(events_.begin(), events_.end(), event) != events_.end();
  });
}

bool recorder::has(const std::string& event) const {
  std::lock_guard lock(mutex_);
  return std::find(events_.begin(), events_.end(), event) != events_.end();
}

std::string recorder::events() const {
  std::lock_guard lock(mutex_);
  std::string text;
  for (const auto& e : events_) text += (text.empty() ? "" : ", ") + e;
  return text;
}

// --- script_body -------------------------------------------------------------

namespace {

script_body::talk& talk_of(PyObject* self) {
  return *static_cast<script_body::talk*>(PyCapsule_GetPointer(self, "talk"));
}

PyObject* py_ready(PyObject* self, PyObject*) {
  script_body::talk& t = talk_of(self);
  std::lock_guard lock(t.mutex);
  ++t.ready;
  t.tid = static_cast<int>(::syscall(SYS_gettid));
  t.changed.notify_all();
  Py_RETURN_NONE;
}

PyObject* py_say(PyObject* self, PyObject* text) {
  PyObject* s = PyObject_Str(text);
  if (!s) return nullptr;
  script_body::talk& t = talk_of(self);
  {
    std::lock_guard lock(t.mutex);
    t.said.emplace_back(PyUnicode_AsUTF8(s));
    t.changed.notify_all();
  }
  Py_DECREF(s);
  Py_RETURN_NONE;
}

PyObject* py_block(PyObject* self, PyObject*) { return make_buffer(talk_of(self).block); }

void wait_let_go(script_body::talk& t) {
  std::unique_lock lock(t.mutex);
  t.changed.wait(lock, [&] { return t.let_go; });
}

PyObject* py_hold(PyObject* self, PyObject*) {
  wait_let_go(talk_of(self));
  Py_RETURN_NONE;
}

PyObject* py_linger(PyObject* self, PyObject*) {
  script_body::talk& t = talk_of(self);
  Py_BEGIN_ALLOW_THREADS;
  wait_let_go(t);  // Never returns on EINTR.
  Py_END_ALLOW_THREADS;
  Py_RETURN_NONE;
}

// Its end is code of C that does not come back before let_go().
void end_relic(PyObject* capsule) {
  script_body::talk& t = talk_of(capsule);
  Py_BEGIN_ALLOW_THREADS;
  wait_let_go(t);
  Py_END_ALLOW_THREADS;
}

PyObject* py_relic(PyObject* self, PyObject*) {
  return PyCapsule_New(&talk_of(self), "talk", end_relic);
}

PyMethodDef functions[] = {
    {"ready", py_ready, METH_NOARGS, nullptr}, {"relic", py_relic, METH_NOARGS, nullptr},
    {"catch_all", catch_all, METH_O, nullptr}, {"no_throw", no_throw, METH_O, nullptr},
    {"say", py_say, METH_O, nullptr},          {"block", py_block, METH_NOARGS, nullptr},
    {"hold", py_hold, METH_NOARGS, nullptr},   {"linger", py_linger, METH_NOARGS, nullptr}};

// "", or "ValueError: text"; the error is cleared.
std::string run_source(const std::string& source, PyObject* dict) {
  if (PyObject* result = PyRun_String(source.c_str(), Py_file_input, dict, dict)) {
    Py_DECREF(result);
    return {};
  }
  PyObject* error = PyErr_GetRaisedException();
  PyObject* text = PyObject_Str(error);
  const char* utf8 = text ? PyUnicode_AsUTF8(text) : nullptr;
  std::string outcome = std::string(Py_TYPE(error)->tp_name) + ": " + (utf8 ? utf8 : "?");
  Py_XDECREF(text);
  Py_DECREF(error);
  PyErr_Clear();
  return outcome;
}

}  // namespace

void script_body::run(guest_side& side) noexcept {
  PyObject* dict = PyModule_GetDict(PyImport_AddModule("__main__"));
  PyObject* capsule = PyCapsule_New(shared.get(), "talk", nullptr);
  for (PyMethodDef& f : functions) {
    PyObject* function = PyCFunction_New(&f, capsule);
    PyDict_SetItemString(dict, f.ml_name, function);
    Py_DECREF(function);
  }
  Py_DECREF(capsule);
  PyDict_SetItemString(dict, "Interrupted", interrupted_type());
  const auto note = [this](std::string outcome) {
    std::lock_guard lock(shared->mutex);
    shared->outcomes.push_back(std::move(outcome));
    shared->changed.notify_all();
  };
  note(run_source(source_, dict));
  std::uint64_t number = 0;
  for (const std::string& call : calls_) {
    side.begin_call(++number);
    std::string outcome = run_source(call, dict);
    side.end_call(number);
    note(std::move(outcome));
  }
}

// --- guest -------------------------------------------------------------------

guest::guest(guest_host& host, std::string source, guest_options options,
             std::vector<std::string> calls) {
  auto body = std::make_unique<script_body>(std::move(source), std::move(calls));
  talk = body->shared;
  handle = guest_thread::start(host, std::move(options), std::move(body), events);
}

guest::~guest() {
  if (events->has("ended") || events->has("start_failed") || events->has("reclaimed")) return;
  let_go();
  handle->force();
  if (!events->wait_for("ended", 5s)) handle->abandon();
}

void guest::wait_ready(int times) {
  std::unique_lock lock(talk->mutex);
  const bool there = talk->changed.wait_for(lock, 20s, [&] { return talk->ready >= times; });
  ASSERT_TRUE(there) << "the guest never called ready(); events: " << events->events()
                     << "; outcomes: " << (talk->outcomes.empty() ? "none" : talk->outcomes.back());
}

void guest::let_go() {
  std::lock_guard lock(talk->mutex);
  talk->let_go = true;
  talk->changed.notify_all();
}

bool guest::wait_blocked() {
  int tid = 0;
  {
    std::lock_guard lock(talk->mutex);
    tid = talk->tid;
  }
  int calm = 0;  // Twice in a row: once may be a short wait for the GIL.
  return eventually([&] {
    const std::string stat = base::file_text("/proc/self/task/" + std::to_string(tid) + "/stat");
    const auto at = stat.rfind(") ");
    calm = at != std::string::npos && stat[at + 2] == 'S' ? calm + 1 : 0;
    return calm >= 3;
  });
}

std::vector<std::string> guest::said() const {
  std::lock_guard lock(talk->mutex);
  return talk->said;
}

std::vector<std::string> guest::outcomes() const {
  std::lock_guard lock(talk->mutex);
  return talk->outcomes;
}

// --- fixture -----------------------------------------------------------------

embedding& PyHostTest::python() {
  // Never finalised by a test but the one about it; leaked, like CPython itself.
  static embedding* const one = embedding::up({.executable = COPPICE_TEST_PYTHON}).release();
  return *one;
}

void PyHostTest::SetUp() {
  python();
  before_ = possessions::now();
  host = std::make_unique<guest_host>(python());
}

void PyHostTest::TearDown() {
  host.reset();
  std::string more;
  eventually(
      [&] {
        possessions p = possessions::now();
        if (!check_folders) p.forget_folders();
        return (more = p.more_than(before_)).empty();
      },
      3s);
  EXPECT_EQ(more, "") << "left behind";
}

}  // namespace coppice::py::testkit

// What forced guests leave behind is memory by design (guest_thread.hpp): no leak report of it.
extern "C" const char* __asan_default_options() { return "detect_leaks=0"; }
