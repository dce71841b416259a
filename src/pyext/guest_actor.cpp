// SPDX-License-Identifier: Apache-2.0
#include "pyext/guest_actor.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <utility>

#include "actor/process_runtime.hpp"
#include "base/assert.hpp"
#include "base/forked.hpp"
#include "pyext/convert.hpp"
#include "pyext/dialogs.hpp"
#include "pyext/main_script.hpp"
#include "pyext/native_module.hpp"
#include "pyext/warm_up.hpp"
#include "pyhost/attribute.hpp"
#include "pyhost/codec.hpp"
#include "pyhost/guest_side.hpp"

namespace coppice::py {

namespace {

constexpr const char* actor_key = "coppice.actor";  // In PyInterpreterState_GetDict().
// So many events are taken before an event loop gets its turn.
constexpr int batch_max = 128;
constexpr duration idle_wait = std::chrono::seconds(60);

// The actor whose thread this is: what nearly every function of `_coppice` asks first.
thread_local guest_actor* of_this_thread = nullptr;

bool is_ordinary(PyObject* exception) {
  const int is = PyObject_IsInstance(exception, PyExc_Exception);
  if (is < 0) PyErr_Clear();
  return is > 0;
}

bool is_interrupted(PyObject* exception) {
  PyObject* type = interrupted_type();
  return type ? PyErr_GivenExceptionMatches(exception, type) != 0 : (PyErr_Clear(), false);
}

std::string name_of(PyObject* function) {
  const ref name = ref::take(attribute(function, "__qualname__"));
  if (!name) PyErr_Clear();
  return to_utf8(name.get());
}

}  // namespace

guest_actor::guest_actor(std::shared_ptr<port::guest_port> port, call_fence& fence,
                         guest_actor_options options)
    : port_(std::move(port)),
      fence_(fence),
      options_(std::move(options)),
      errors_(uid{port_->self().name, port_->self().uuid}),
      open_(!options_.root_script) {}

// --- whose interpreter is this? ------------------------------------------------------------------

guest_actor* guest_actor::current() noexcept {
  PyInterpreterState* interpreter = PyInterpreterState_Get();
  if (of_this_thread && of_this_thread->interpreter_ == interpreter) return of_this_thread;
  PyObject* dict = PyInterpreterState_GetDict(interpreter);
  PyObject* capsule = dict ? PyDict_GetItemString(dict, actor_key) : nullptr;
  return capsule ? static_cast<guest_actor*>(PyCapsule_GetPointer(capsule, actor_key)) : nullptr;
}

bool guest_actor::on_own_thread() const noexcept { return of_this_thread == this; }

bool guest_actor::install() {
  interpreter_ = PyInterpreterState_Get();
  PyObject* dict = PyInterpreterState_GetDict(interpreter_);
  const ref capsule = ref::take(PyCapsule_New(this, actor_key, nullptr));
  if (!dict || !capsule || PyDict_SetItemString(dict, actor_key, capsule.get()) != 0) return false;
  of_this_thread = this;
  if (!options_.package_path.empty() && !append_to_sys_path(options_.package_path)) return false;
  return publish_native_module() && catch_up();
}

void guest_actor::release() {
  answer_the_rest();
  for (auto& [id, coro] : std::exchange(pending_, {})) Py_DECREF(coro);
  for (auto& [id, request] : std::exchange(requests_, {})) {
    port_->forget(id);
    Py_DECREF(request.token);
  }
  for (auto& [uuid, on_event] : std::exchange(children_, {})) Py_DECREF(on_event);
  for (auto& [name, module] : std::exchange(modules_, {})) Py_DECREF(module);
  set_loop(nullptr);
  if (PyObject* dict = PyInterpreterState_GetDict(interpreter_);
      dict && PyDict_DelItemString(dict, actor_key) != 0)
    PyErr_Clear();
  if (of_this_thread == this) of_this_thread = nullptr;
}

void guest_actor::complain(PyObject* about) { PyErr_WriteUnraisable(about); }

// --- the actor's life
// ------------------------------------------------------------------------------

void guest_actor::serve() {
  serving_ = true;
  while (!done_ && !fence_.stopping()) {
    drain();
    if (done_ || fence_.stopping()) break;
    if (loop_) {
      run_loop();
      continue;
    }
    PyThreadState* mine = PyEval_SaveThread();
    port_->wait(idle_wait);
    PyEval_RestoreThread(mine);  // A guest that is being destroyed never comes back from here.
    if (PyErr_CheckSignals() != 0)
      PyErr_Clear();  // Struck while it did nothing: nothing to unwind.
  }
  serving_ = false;
  answer_the_rest();
  if (done_) port_->acknowledge_cancel();
}

// A function of the actor has called os.fork(), and returned in the child as well.
void guest_actor::leave_if_forked() {
  if (!base::is_forked_copy()) return;
  fmt::print(
      stderr,
      "coppice: a process that was forked in actor '{}' came back from the forking function; "
      "it ends here: let it exec, or end it with os._exit()\n",
      port_->self().name);
  std::fflush(nullptr);
  ::_exit(1);
}

void guest_actor::drain() {
  leave_if_forked();
  if (fence_.stopping()) return leave_loop();
  if (loop_runs_) spawn_pending();
  for (int n = 0; !fence_.stopping() && !done_; ++n) {
    if (loop_ && !loop_runs_) return;  // It has to run first.
    if (n == batch_max && loop_runs_) return port_->nudge();
    auto e = port_->take();
    if (e)
      std::visit([this](auto& event) { act(std::move(event)); }, *e);
    else if (port_->prepare_to_sleep())
      return;
  }
}

// Struck as a whole: the request to end may still lie in the inbox, but no more work may be taken.
void guest_actor::leave_loop() {
  if (!loop_runs_ || !serving_ || std::exchange(ending_, true)) return;
  why_ = "interrupted";
  tell_loop_to_end();
}

void guest_actor::act(port::spec_arrived&& e) {
  runtime_vars_ = std::move(e.spec.runtime_vars);
  const auto fail = [this](const remote_error_info& info) {
    failure_ = fmt::format("its modules did not import: {}: {}", info.source_type, info.message);
    start_failure_ = info;
    port_->set_ready(&info);
  };
  parent_program program;
  try {
    program = parent_program::from(e.spec.parent_main_data);
  } catch (const std::exception& x) {
    return fail(errors_.describe("ValueError", fmt::format("_parent_main_data: {}", x.what())));
  }
  if (!program.loop.empty()) loop_name_ = program.loop;
  bool ok = set_actors_sys_path(program.sys_path, options_.package_path);
  // A parent of ours sends its sys.path, under which its main script imports. That of a tractor
  // program need not import here: then only what it defines cannot be called.
  if (ok && !replay_main(program)) {
    const ref error = take_error();
    ok = program.sys_path.empty() && !is_interrupted(error.get());
    if (!ok) PyErr_SetRaisedException(Py_NewRef(error.get()));
  }
  for (const auto& [name, path] : e.spec.enable_modules.list)
    // tractor's own: a root of it lists the module of its debugger for every child.
    if (!name.starts_with("tractor.")) ok = ok && expose(name, path);
  if (!ok) {
    const ref error = take_error();
    // Struck while it imported: who did that knows why, and it is no fault of the modules.
    if (error && is_interrupted(error.get())) return;
    return fail(errors_.describe(error.get()));
  }
  say_ready(std::move(e.spec.reg_addrs));
}

// A process child registers itself first: nobody else can. Guests are registered by their
// supervisor.
void guest_actor::say_ready(std::vector<msg::wire_address> registrars) {
  auto* rt = tree::process_runtime::current();
  if (!rt || !port_->alone_in_process()) return port_->set_ready();
  rt->join_registrars(port_, std::move(registrars), [port = port_](const std::exception_ptr& e) {
    if (!e) return port->set_ready();
    const auto info = to_remote(e, {port->self().name, port->self().uuid});
    port->set_ready(&info);
  });
}

bool guest_actor::expose(const std::string& name, const std::string& path) {
  const bool is_main = name == "__main__" || name == "__mp_main__";
  ref module;
  if (is_main) {
    PyObject* known = PyImport_GetModuleDict();
    for (const char* main : {"__mp_main__", "__main__"})
      if (!module) module = ref::of(PyDict_GetItemString(known, main));
  } else {
    module = ref::take(PyImport_ImportModule(name.c_str()));
    if (!module && PyErr_ExceptionMatches(PyExc_ModuleNotFoundError)) {
      const ref missing = take_error();
      const ref which = ref::take(PyObject_GetAttrString(missing.get(), "name"));
      const std::string folder = import_folder(name, path);
      // Only if it is this module itself that is missing, not one that it imports.
      if (which && (name + ".").starts_with(to_utf8(which.get()) + ".") && !folder.empty()) {
        if (!append_to_sys_path(folder)) return false;
        module = ref::take(PyImport_ImportModule(name.c_str()));
      } else {
        PyErr_SetRaisedException(Py_NewRef(missing.get()));
      }
    }
  }
  if (!module) return false;
  for (const std::string& key : is_main ? std::vector<std::string>{"__main__", "__mp_main__"}
                                        : std::vector<std::string>{name}) {
    PyObject*& kept = modules_[key];
    Py_XSETREF(kept, Py_NewRef(module.get()));
  }
  return true;
}

void guest_actor::act(port::cancel_requested&& e) {
  const bool first = !std::exchange(ending_, true);
  if (first) why_ = e.why;
  if (first && e.by_parent_loss) failure_ = e.why;  // Nobody asked it to end.
  if (loop_ && loop_runs_) return tell_loop_to_end();
  done_ = serving_;
}

void guest_actor::tell_loop_to_end() {
  const ref why = to_str(why_);
  const ref asked =
      ref::take(why ? PyObject_CallMethod(loop_.get(), "cancel_all", "O", why.get()) : nullptr);
  if (!asked) complain(loop_.get());
  // A root's loop is its program's: it ends when that does.
  if (!serving_) return;
  const ref stopped = ref::take(PyObject_CallMethod(loop_.get(), "stop", nullptr));
  if (!stopped) complain(loop_.get());
}

// --- calls that it serves
// ------------------------------------------------------------------------------

void guest_actor::refuse(port::call_id id, const char* type, const std::string& message) {
  port_->finish(id, errors_.describe(type, message));
}

void guest_actor::act(port::call_started&& e) {
  if (ending_)
    return refuse(e.id, "ContextCancelled",
                  fmt::format("actor '{}' is ending: {}", port_->self().name, why_));
  auto call = prepare(e);
  e.kwargs = {};  // Large, perhaps, and the call may never return.
  if (call) run(*call);
}

std::optional<guest_actor::ready_call> guest_actor::prepare(const port::call_started& e) {
  if (start_failure_) {  // It was called before that was known.
    port_->finish(e.id, *start_failure_);
    return {};
  }
  const auto module = modules_.find(e.ns);
  if (module == modules_.end()) {
    refuse(e.id, "ModuleNotExposed",
           fmt::format("module '{}' is not exposed by actor '{}': name it in enable_modules when "
                       "you start the actor",
                       e.ns, port_->self().name));
    return {};
  }
  const ref name = to_str(e.func);
  ref function = ref::take(name ? PyObject_GetAttr(module->second, name.get()) : nullptr);
  if (!function) {
    port_->finish(e.id, errors_.describe_pending());
    return {};
  }
  if (!PyCallable_Check(function.get())) {
    refuse(e.id, "TypeError",
           fmt::format("'{}:{}' cannot be called: it is a '{}'", e.ns, e.func,
                       type_name(function.get())));
    return {};
  }
  ref kwargs = ref::take(decode(e.kwargs, "kwargs"));
  if (!kwargs) {
    port_->finish(e.id, errors_.describe_pending());
    return {};
  }
  if (!PyDict_CheckExact(kwargs.get()) || !PyArg_ValidateKeywordArguments(kwargs.get())) {
    PyErr_Clear();
    refuse(e.id, "TypeError",
           fmt::format("'{}:{}' was called with arguments that are no map of "
                       "names to values",
                       e.ns, e.func));
    return {};
  }
  ref caller;
  if (is_endpoint(function.get())) {
    caller = to_python(e.caller);
    if (!caller) {
      port_->finish(e.id, errors_.describe_pending());
      return {};
    }
  } else if (PyDict_GET_SIZE(kwargs.get()) == 0) {
    kwargs = ref();
  }
  return ready_call{e.id, function.release(), kwargs.release(), caller.release()};
}

PyObject* guest_actor::call_function(const ready_call& call) {
  if (call.caller) {
    const ref module = ref::take(PyImport_ImportModule("coppice._endpoint"));
    const ref serve = ref::take(module ? attribute(module.get(), "serve") : nullptr);
    return serve ? PyObject_CallFunction(serve.get(), "OOKO", call.function, call.kwargs,
                                         static_cast<unsigned long long>(call.id), call.caller)
                 : nullptr;
  }
  if (!call.kwargs) return PyObject_CallNoArgs(call.function);
  const ref none = ref::take(PyTuple_New(0));  // The one empty tuple: never fails.
  return PyObject_Call(call.function, none.get(), call.kwargs);
}

void guest_actor::run(ready_call call) {
  const auto drop = [&call] {
    Py_DECREF(call.function);
    Py_XDECREF(call.kwargs);
    Py_XDECREF(call.caller);
  };
  if (!port_->begin_running(call.id)) {
    drop();
    return refuse(call.id, "ContextCancelled", "cancelled by its caller before it began");
  }
  bool is_dialog = call.caller != nullptr;
  fence_.begin_call(call.id);
  PyObject* result = call_function(call);
  if (result && PyAsyncGen_CheckExact(result)) {
    is_dialog = true;
    Py_SETREF(result, serve_generator(call.id, result));
  }
  fence_.end_call(call.id);
  leave_if_forked();
  const bool cancelled = port_->end_running();

  ref value = ref::take(result);
  ref error = value ? ref() : take_error();
  std::string name = name_of(call.function);
  drop();
  constexpr auto plain = msg::call_kind::asyncfunc;
  if (error)
    return finish_error(call.id, plain, std::move(error), cancelled, "cancelled by its caller");
  const bool is_coroutine = PyCoro_CheckExact(value.get());
  if (!is_coroutine && !is_dialog) return finish_value(call.id, plain, value.get());
  if (!cancelled && is_dialog) return start_dialog(call.id, value.get(), std::move(name));
  if (!cancelled) return start_coroutine(call.id, std::move(value), {std::move(name)});
  close_coroutine(is_dialog ? PyTuple_GET_ITEM(value.get(), 0) : value.get());
  refuse(call.id, "ContextCancelled", fmt::format("'{}' was cancelled by its caller", name));
}

// An async generator says Stop, however it ends, unless it fails.
void guest_actor::refuse_cancelled(port::call_id id, msg::call_kind kind, const std::string& why) {
  if (kind == msg::call_kind::asyncgen)
    port_->finish_stream(id);
  else
    refuse(id, "ContextCancelled", why);
}

void guest_actor::finish_value(port::call_id id, msg::call_kind kind, PyObject* value) {
  if (kind == msg::call_kind::asyncgen)
    port_->finish_stream(id);
  else if (auto bytes = encode(value, "result"))
    port_->finish(id, std::move(*bytes));
  else
    port_->finish(id, errors_.describe_pending());
}

void guest_actor::finish_error(port::call_id id, msg::call_kind kind, ref error, bool cancelled,
                               const std::string& why) {
  // Cancellation of whatever kind is a BaseException: Interrupted, and what event loops raise.
  if (is_interrupted(error.get()) || ((cancelled || ending_) && !is_ordinary(error.get())))
    return refuse_cancelled(id, kind, cancelled ? why : ending_ ? why_ : "interrupted");
  port_->finish(id, errors_.describe(error.get()));
}

void guest_actor::act(port::call_cancelled&& e) {
  const auto it = coroutines_.find(e.id);
  if (it == coroutines_.end()) return;  // It has ended meanwhile.
  it->second.cancelled = e.why;
  for (auto at = pending_.begin(); at != pending_.end(); ++at) {
    if (at->first != e.id) continue;
    const ref coro = ref::take(at->second);  // Not begun: there is nothing to unwind.
    pending_.erase(at);
    const msg::call_kind kind = it->second.kind;
    const ref token = ref::take(it->second.token);
    coroutines_.erase(it);
    close_coroutine(coro.get());
    return refuse_cancelled(e.id, kind, e.why);
  }
  if (!loop_) return;
  const ref asked = ref::take(
      PyObject_CallMethod(loop_.get(), "cancel_call", "K", static_cast<unsigned long long>(e.id)));
  if (!asked) complain(loop_.get());
}

// --- coroutines and their loop
// ---------------------------------------------------------------------------

void guest_actor::close_coroutine(PyObject* coro) {
  const ref closed = ref::take(PyObject_CallMethod(coro, "close", nullptr));
  if (!closed) complain(coro);
}

void guest_actor::start_coroutine(port::call_id id, ref coro, coroutine how) {
  if (!loop_ && !bring_up_loop()) {
    auto info = errors_.describe_pending();
    close_coroutine(coro.get());
    Py_XDECREF(how.token);
    return port_->finish(id, std::move(info));
  }
  if (how.kind == msg::call_kind::asyncfunc)
    port_->acknowledge(id, how.kind);
  else
    port_->accept_dialog(id, how.kind, port::stream_window());
  coroutines_.emplace(id, std::move(how));
  pending_.emplace_back(id, coro.release());
  if (loop_runs_) spawn_pending();
}

bool guest_actor::bring_up_loop() {
  if (!serving_) {
    PyErr_Format(PyExc_RuntimeError, "actor '%s' runs no event loop at present",
                 port_->self().name.c_str());
    return false;
  }
  const ref module = ref::take(PyImport_ImportModule("coppice._loop"));
  if (!module) return false;
  const ref loop =
      ref::take(PyObject_CallMethod(module.get(), "guest_loop", "s", loop_name_.c_str()));
  if (!loop) return false;
  return loop_.get() == loop.get() || set_loop(loop.get());
}

bool guest_actor::set_loop(PyObject* loop) {
  loop_.clear();
  spawn_.clear();
  settle_.clear();
  dialog_.clear();
  loop_runs_ = false;
  if (!loop || loop == Py_None) return true;
  ref spawn = ref::take(PyObject_GetAttrString(loop, "spawn"));
  ref settle = ref::take(PyObject_GetAttrString(loop, "settle"));
  ref dialog = ref::take(PyObject_GetAttrString(loop, "dialog"));
  if (!spawn || !settle || !dialog) return false;
  loop_.set(ref::of(loop));
  spawn_.set(std::move(spawn));
  settle_.set(std::move(settle));
  dialog_.set(std::move(dialog));
  loop_runs_ = !serving_;  // A root's runs already; ours begins in run_loop().
  // Its actor was told to end before there was a loop to tell.
  if (loop_runs_ && ending_) tell_loop_to_end();
  return true;
}

void guest_actor::run_loop() {
  loop_runs_ = true;
  const ref ran = ref::take(PyObject_CallMethod(loop_.get(), "run", nullptr));
  if (!ran) {
    const ref error = take_error();
    if (!ending_ && !fence_.stopping()) {
      failure_ = fmt::format("its event loop failed: {}: {}", type_name(error.get()),
                             text_of(error.get(), 1000));
      PyErr_SetRaisedException(Py_NewRef(error.get()));
      complain(loop_.get());
      ending_ = true;
      why_ = failure_;
    }
  }
  set_loop(nullptr);
  answer_the_rest();
  done_ = ending_;
}

void guest_actor::spawn_pending() {
  // One at a time: what it starts may run at once, and end, or add to the list.
  while (!pending_.empty() && spawn_) {
    const auto [id, raw] = pending_.front();
    pending_.erase(pending_.begin());
    const ref coro = ref::take(raw);
    const ref number = ref::take(PyLong_FromUnsignedLongLong(id));
    PyObject* arguments[] = {nullptr, coro.get(), number.get()};
    const ref started =
        ref::take(number ? PyObject_Vectorcall(spawn_.get(), arguments + 1,
                                               2 | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr)
                         : nullptr);
    if (started) continue;
    ref error = take_error();
    auto node = coroutines_.extract(id);
    if (node.empty()) continue;
    const ref token = ref::take(node.mapped().token);
    finish_error(id, node.mapped().kind, std::move(error), false, "");
  }
}

void guest_actor::finish(port::call_id id, PyObject* value, PyObject* error) {
  auto node = coroutines_.extract(id);
  if (node.empty()) return;
  const coroutine& ended = node.mapped();
  const ref token = ref::take(ended.token);
  if (error && error != Py_None)
    finish_error(id, ended.kind, ref::of(error), !ended.cancelled.empty(), ended.cancelled);
  else
    finish_value(id, ended.kind, value);
}

void guest_actor::answer_the_rest() {
  for (auto& [id, coro] : std::exchange(pending_, {})) {
    close_coroutine(coro);
    Py_DECREF(coro);
  }
  for (const auto& [id, c] : std::exchange(coroutines_, {})) {
    const ref token = ref::take(c.token);
    refuse_cancelled(id, c.kind,
                     !c.cancelled.empty()
                         ? c.cancelled
                         : fmt::format("'{}' did not end with its actor: {}", c.name,
                                       why_.empty() ? "interrupted" : why_));
  }
}

// --- calls and children of its own
// -------------------------------------------------------------------------

port::request_id guest_actor::call(const ipc::link_ptr& to, const std::string& ns,
                                   const std::string& func, payload kwargs, ref token) {
  const port::request_id id = port_->call(to, ns, func, std::move(kwargs));
  expect(id, std::move(token), to->peer().name);
  return id;
}

void guest_actor::expect(port::request_id id, ref token, std::string peer) {
  requests_.emplace(id, open_request{token.release(), std::move(peer)});
}

void guest_actor::forget(port::request_id id) {
  port_->forget(id);
  if (auto node = requests_.extract(id)) Py_DECREF(node.mapped().token);
}

void guest_actor::act(port::reply_arrived&& e) {
  auto node = requests_.extract(e.id);
  if (node.empty()) return;
  const ref token = ref::take(node.mapped().token);
  ref value, error;
  if (e.result.how == port::reply::kind::value) {
    value = ref::take(decode(e.result.value, "the result"));
    if (!value) error = take_error();
  } else {
    error = errors_.make(e.result, node.mapped().peer);
    if (!error) error = take_error();
  }
  if (node.mapped().is_dialog) {
    const ref none = ref::of(Py_None);
    return tell_dialog(token.get(), "ended",
                       ref::take(PyTuple_Pack(2, value ? value.get() : none.get(),
                                              error ? error.get() : none.get())));
  }
  if (!settle_) return;
  PyObject* arguments[] = {nullptr, token.get(), value ? value.get() : Py_None,
                           error ? error.get() : Py_None};
  const ref settled = ref::take(PyObject_Vectorcall(settle_.get(), arguments + 1,
                                                    3 | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr));
  if (!settled) complain(settle_.get());
}

void guest_actor::watch_child(const std::string& uuid, ref on_event) {
  PyObject*& kept = children_[uuid];
  Py_XSETREF(kept, on_event.release());
}

void guest_actor::unwatch_child(const std::string& uuid) {
  if (auto node = children_.extract(uuid)) Py_DECREF(node.mapped());
}

void guest_actor::act(port::child_changed&& e) {
  using kind = port::child_changed::kind;
  const auto it = children_.find(e.uuid);
  if (it == children_.end()) return;
  ref on_event = ref::of(it->second);
  const char* what = "started";
  ref with;
  switch (e.what) {
    case kind::started:
      with = make_link(e.link);
      break;
    case kind::lost:
      what = "lost";
      with = to_str(e.report.detail);
      break;
    case kind::start_failed: {
      what = "start_failed";
      const ref error = errors_.make_start_error(e.error);
      const ref report = e.began ? to_python(e.report) : ref::of(Py_None);
      with = ref::take(error && report ? PyTuple_Pack(2, error.get(), report.get()) : nullptr);
      break;
    }
    case kind::ended: {
      what = "ended";
      const ref report = to_python(e.report);
      with = ref::take(report ? PyTuple_Pack(2, report.get(), e.requested ? Py_True : Py_False)
                              : nullptr);
      break;
    }
    case kind::reclaimed:
      what = "reclaimed";
      with = to_python(e.report);
      break;
  }
  const bool may_come_back = e.report.rung == rung::abandoned;
  if (e.what != kind::started && e.what != kind::lost && !may_come_back) unwatch_child(e.uuid);
  const ref told =
      ref::take(with ? PyObject_CallFunction(on_event.get(), "sO", what, with.get()) : nullptr);
  if (!told) complain(on_event.get());
}

}  // namespace coppice::py
