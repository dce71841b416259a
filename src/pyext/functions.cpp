// SPDX-License-Identifier: Apache-2.0
#include "pyext/functions.hpp"

#include <fmt/format.h>

#include "actor/backends.hpp"
#include "actor/process_runtime.hpp"
#include "base/uuid.hpp"
#include "coppice/errors.hpp"
#include "pyext/backends.hpp"
#include "pyext/dialogs.hpp"
#include "pyext/guest_actor.hpp"
#include "pyext/lookups.hpp"
#include "pyext/main_script.hpp"
#include "pyext/native_module.hpp"
#include "pyext/process_child.hpp"
#include "pyext/root.hpp"
#include "pyext/zygote.hpp"
#include "pyhost/codec.hpp"
#include "pyhost/embed.hpp"

namespace coppice::py {

namespace {

using arguments = PyObject* const*;

// --- the border: C++ exceptions end here
// -----------------------------------------------------------

/// A function that takes exactly N arguments, by position, and returns a ref.
template <ref (*F)(arguments), Py_ssize_t N>
PyObject* entry(PyObject*, arguments args, Py_ssize_t count) {
  if (count != N) {
    PyErr_Format(PyExc_TypeError, "expected %zd arguments, got %zd", N, count);
    return nullptr;
  }
  try {
    return F(args).release();
  } catch (const python_error&) {
    return nullptr;
  } catch (...) {
    error_bridge(uid{}).raise(std::current_exception());
    return nullptr;
  }
}

/// The actor of this interpreter, as far as Python knows of it.
guest_actor* visible_actor() {
  guest_actor* actor = guest_actor::current();
  return actor && actor->is_open() ? actor : nullptr;
}

tree::process_runtime& open_runtime() {
  if (auto* rt = tree::process_runtime::current()) return *rt;
  throw error(
      "no runtime is open in this process: open a root with coppice.run() or "
      "coppice.open_nursery()");
}

// --- who am I
// ----------------------------------------------------------------------------------------

ref self_uid(arguments) {
  guest_actor* actor = visible_actor();
  if (!actor) return none();
  return to_python(uid{actor->port()->self().name, actor->port()->self().uuid});
}

ref parent_uid(arguments) {
  guest_actor* actor = visible_actor();
  const ipc::link_ptr parent = actor ? actor->port()->parent_link() : nullptr;
  if (parent) return to_python(parent->peer_uid());
  return actor && actor->parent() ? to_python(*actor->parent()) : none();
}

ref parent_link(arguments) {
  guest_actor* actor = visible_actor();
  const ipc::link_ptr parent = actor ? actor->port()->parent_link() : nullptr;
  return parent ? make_link(parent) : none();
}

ref runtime_vars(arguments) {
  guest_actor* actor = visible_actor();
  if (!actor || actor->runtime_vars().is_nil()) return ref::take(PyDict_New());
  return ref::take(decode(actor->runtime_vars(), "runtime_vars"));
}

// --- the root
// ------------------------------------------------------------------------------------------

ref open_root_function(arguments a) {
  open_root(text_from(a[0], "name"), a[1]);
  return none();
}

ref close_root_function(arguments) { return ref::take(PyBool_FromLong(close_root())); }

ref child_main_function(arguments a) {
  process_child start;
  start.uid = text_from(a[0], "uid");
  start.parent_addr = text_from(a[1], "parent_addr");
  return ref::take(PyLong_FromLong(child_main(start)));
}

ref zygote_main_function(arguments a) {
  options_reader options(a[0], "zygote_main");
  const std::vector<std::string> preload = options.texts("preload");
  options.finish();
  return ref::take(PyLong_FromLong(zygote_main(preload)));
}

// --- events
// --------------------------------------------------------------------------------------------

ref set_loop(arguments a) {
  guest_actor* actor = guest_actor::current();
  if (!actor && a[0] == Py_None) return none();  // Its root closed before its loop did.
  if (!own_actor().set_loop(a[0])) throw python_error();
  return none();
}

ref wake_fd(arguments) { return ref::take(PyLong_FromLong(own_actor().port()->wake_fd())); }

ref look(arguments) {
  guest_actor* actor = guest_actor::current();
  if (!actor || !actor->on_own_thread() || !actor->port()->pays_to_look()) return ref::of(Py_False);
  PyThreadState* mine = PyEval_SaveThread();
  const bool found = actor->port()->look();
  PyEval_RestoreThread(mine);  // A guest that is being destroyed never comes back from here.
  return ref::take(PyBool_FromLong(found));
}

ref drain(arguments) {
  // Late calls come from loops that end after their root.
  if (guest_actor* actor = guest_actor::current(); actor && actor->on_own_thread()) actor->drain();
  return PyErr_Occurred() ? ref() : none();
}

// --- calls
// ---------------------------------------------------------------------------------------------

ref call(arguments a) {
  guest_actor& actor = own_actor();
  const ipc::link_ptr to = link_of(a[0]);
  if (!to) return {};
  const std::string ns = text_from(a[1], "ns"), func = text_from(a[2], "func");
  payload kwargs = kwargs_from(a[3]);
  return ref::take(
      PyLong_FromUnsignedLongLong(actor.call(to, ns, func, std::move(kwargs), ref::of(a[4]))));
}

ref cancel_call(arguments a) {
  const auto request = number_from(a[0]);
  own_actor().port()->cancel_request(request);
  return none();
}

ref forget_call(arguments a) {
  const auto request = number_from(a[0]);
  own_actor().forget(request);
  return none();
}

ref finish(arguments a) {
  const auto id = number_from(a[0]);
  own_actor().finish(id, a[1], a[2]);
  return none();
}

ref cancel_self(arguments a) {
  std::string why = text_from(a[0], "why");
  if (guest_actor* actor = guest_actor::current()) actor->port()->cancel(std::move(why));
  return none();
}

// --- finding actors
// ------------------------------------------------------------------------------------

ref lookup_function(arguments a) { return start_lookup(own_actor(), a[0], a[1], a[2], a[3]); }

ref forget_lookup_function(arguments a) {
  forget_lookup(own_actor(), a[0]);
  return none();
}

ref found_function(arguments a) { return found_by(a[0]); }

ref end_lookup_function(arguments a) {
  end_lookup(a[0]);
  return none();
}

ref expose(arguments a) {
  guest_actor& actor = own_actor();
  const std::string name = text_from(a[0], "module");
  return actor.expose(name, text_from(a[1], "path")) ? none() : ref();
}

ref is_registrar(arguments) {
  guest_actor* actor = visible_actor();
  return ref::take(PyBool_FromLong(actor && actor->port()->self().is_registrar.value_or(false)));
}

// --- children
// ------------------------------------------------------------------------------------------

// Pairs of str in the mapping's order.
std::vector<std::pair<std::string, std::string>> pairs_from(PyObject* mapping, const char* what) {
  const ref items = checked(ref::take(PyMapping_Items(mapping)));
  std::vector<std::pair<std::string, std::string>> pairs;
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(items.get()); ++i) {
    PyObject* pair = PyList_GET_ITEM(items.get(), i);
    pairs.emplace_back(text_from(PyTuple_GET_ITEM(pair, 0), what),
                       text_from(PyTuple_GET_ITEM(pair, 1), what));
  }
  return pairs;
}

struct start_options {
  std::string key;
  spawn::child_spec spec;
  stop_policy stop;
  duration within;
};

start_options start_options_from(const std::string& name, PyObject* mapping) {
  options_reader options(mapping, "start_child");
  start_options out;
  out.key = options.text("start_method", "subint");
  out.stop = options.stop("stop");
  out.within = options.seconds("start_within", std::chrono::seconds(10));
  auto& spec = out.spec;
  spec.self = tree::aid_of({name, base::new_uuid()});
  spec.cwd = options.text("cwd", "");
  if (auto executable = options.text("executable", ""); !executable.empty())
    spec.program = tree::tractor_child_program(std::move(executable));
  if (PyObject* environment = options.find("env")) {
    spec.environment.emplace();
    for (const auto& [variable, value] : pairs_from(environment, "env"))
      spec.environment->push_back(variable + "=" + value);
  }
  const std::string gil = options.text("gil", "own");
  if (gil != "own" && gil != "shared")
    throw std::invalid_argument(fmt::format("gil='{}': write 'own' or 'shared'", gil));
  spec.gil = gil == "own" ? gil_mode::own : gil_mode::shared;
  if (const auto names = options.texts("enable_transports"); !names.empty())
    spec.transport = ipc::parse_transport(names.front());
  if (PyObject* modules = options.find("enable_modules"))
    spec.spec.enable_modules.list = pairs_from(modules, "enable_modules");
  parent_program program;
  if (PyObject* main = options.find("main"))
    for (auto& [key, value] : pairs_from(main, "main")) {
      if (key == "init_main_from_name") program.main_name = value;
      if (key == "init_main_from_path") program.main_path = value;
    }
  program.sys_path = options.texts("sys_path");
  program.loop = options.text("loop", "");
  spec.spec.parent_main_data = program.to_payload();
  if (PyObject* vars = options.find("runtime_vars")) {
    auto bytes = encode(vars, "runtime_vars");
    if (!bytes) throw python_error();
    spec.spec.runtime_vars = std::move(*bytes);
  }
  options.finish();
  return out;
}

ref start_child(arguments a) {
  guest_actor& actor = own_actor();
  tree::process_runtime& rt = open_runtime();
  start_options wanted = start_options_from(text_from(a[0], "name"), a[1]);
  if (!PyCallable_Check(a[2])) throw_type_error("on_event must be callable");
  const std::string uuid = wanted.spec.self.uuid;
  // First: the outcome may be in the inbox before the call below is back.
  actor.watch_child(uuid, ref::of(a[2]));
  std::exception_ptr failure;
  PyThreadState* mine = PyEval_SaveThread();  // A backend may have to run a Python to look at it.
  try {
    auto& backend = rt.backend_for(wanted.key, wanted.spec);
    rt.start_child(actor.port(), backend, std::move(wanted.spec), wanted.stop, wanted.within);
  } catch (...) {
    failure = std::current_exception();
  }
  PyEval_RestoreThread(mine);
  if (failure) {
    actor.unwatch_child(uuid);
    std::rethrow_exception(failure);
  }
  return to_str(uuid);
}

ref stop_child(arguments a) {
  std::string uuid = text_from(a[0], "uuid");
  std::optional<stop_policy> policy;
  if (a[1] != Py_None) policy = stop_from(a[1], "stop");
  open_runtime().supervision().stop(std::move(uuid), policy);
  return none();
}

ref spawn_methods_function(arguments) { return spawn_methods(); }

ref backends_function(arguments) { return backends(); }

ref place_function(arguments a) { return place(text_from(a[0], "key")); }

ref backend_table_function(arguments) { return backend_table(); }

ref command_line_method_function(arguments) { return command_line_method(); }

ref is_traced_function(arguments) { return ref::take(PyBool_FromLong(is_traced())); }

// --- errors
// --------------------------------------------------------------------------------------------

ref set_error_factory(arguments a) {
  if (!PyCallable_Check(a[0])) throw_type_error("the error factory must be callable");
  return error_bridge::set_factory(a[0]) ? none() : ref();
}

ref register_remote_error(arguments a) {
  if (!PyExceptionClass_Check(a[0])) throw_type_error("an exception class is wanted");
  return error_bridge::set_remote_error(a[0]) ? none() : ref();
}

template <ref (*F)(arguments), Py_ssize_t N>
constexpr PyMethodDef function(const char* name) {
  return {name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&entry<F, N>)),
          METH_FASTCALL, nullptr};
}

}  // namespace

guest_actor& own_actor() {
  guest_actor* actor = guest_actor::current();
  if (!actor)
    throw error(
        "no actor runs in this interpreter: open a root with coppice.run() or "
        "coppice.open_nursery()");
  if (!actor->on_own_thread())
    throw error(
        fmt::format("actor '{}' can be used on its own thread only, not in a thread that "
                    "its code started",
                    actor->port()->self().name));
  return *actor;
}

std::uint64_t number_from(PyObject* number) {
  const unsigned long long n = PyLong_AsUnsignedLongLong(number);
  if (n == static_cast<unsigned long long>(-1) && PyErr_Occurred()) throw python_error();
  return n;
}

payload kwargs_from(PyObject* mapping) {
  ref kwargs = ref::of(mapping);
  if (!PyDict_CheckExact(mapping)) {
    kwargs = checked(ref::take(PyDict_New()));
    if (PyDict_Update(kwargs.get(), mapping) != 0) throw python_error();
  }
  auto bytes = encode(kwargs.get(), "kwargs");
  if (!bytes) throw python_error();
  return std::move(*bytes);
}

PyMethodDef module_functions[] = {
    function<self_uid, 0>("self_uid"),
    function<parent_uid, 0>("parent_uid"),
    function<parent_link, 0>("parent_link"),
    function<runtime_vars, 0>("runtime_vars"),
    function<open_root_function, 2>("open_root"),
    function<close_root_function, 0>("close_root"),
    function<child_main_function, 2>("child_main"),
    function<zygote_main_function, 1>("zygote_main"),
    function<set_loop, 1>("set_loop"),
    function<wake_fd, 0>("wake_fd"),
    function<look, 0>("look"),
    function<drain, 0>("drain"),
    function<call, 5>("call"),
    function<cancel_call, 1>("cancel_call"),
    function<forget_call, 1>("forget_call"),
    function<finish, 3>("finish"),
    function<open_dialog, 6>("open_dialog"),
    function<start_dialog, 2>("start_dialog"),
    function<open_stream, 3>("open_stream"),
    function<send_value, 2>("send"),
    function<take_value, 1>("take"),
    function<stop_stream, 1>("stop_stream"),
    function<release_dialog, 1>("release_dialog"),
    function<peer_opened, 1>("peer_opened"),
    function<look_at_dialog, 1>("look_at_dialog"),
    function<cancel_self, 1>("cancel_self"),
    function<lookup_function, 4>("lookup"),
    function<forget_lookup_function, 1>("forget_lookup"),
    function<found_function, 1>("found"),
    function<end_lookup_function, 1>("end_lookup"),
    function<expose, 2>("expose"),
    function<is_registrar, 0>("is_registrar"),
    function<start_child, 3>("start_child"),
    function<stop_child, 2>("stop_child"),
    function<spawn_methods_function, 0>("spawn_methods"),
    function<backends_function, 0>("backends"),
    function<place_function, 1>("place"),
    function<backend_table_function, 0>("backend_table"),
    function<command_line_method_function, 0>("command_line_method"),
    function<is_traced_function, 0>("is_traced"),
    function<set_error_factory, 1>("set_error_factory"),
    function<register_remote_error, 1>("register_remote_error"),
    {},
};

}  // namespace coppice::py
