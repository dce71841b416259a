// SPDX-License-Identifier: Apache-2.0
#include "pyext/root.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <future>
#include <memory>
#include <utility>

#include "actor/backends.hpp"
#include "actor/process_runtime.hpp"
#include "actor/python_side.hpp"
#include "base/uuid.hpp"
#include "coppice/errors.hpp"
#include "coppice/runtime.hpp"
#include "ipc/connect.hpp"
#include "pyext/convert.hpp"
#include "pyext/guest_actor.hpp"
#include "pyext/leaving.hpp"
#include "pyext/lookups.hpp"
#include "pyext/main_fence.hpp"
#include "pyext/python_host.hpp"

namespace coppice::py {

namespace {

constexpr const char* root_key = "coppice.root";  // In PyInterpreterState_GetDict().

// --- what both kinds of program need
// -----------------------------------------------------------------

std::string executable_of_this_python() {
  const ref text = ref::of(PySys_GetObject("executable"));
  return text && PyUnicode_Check(text.get()) ? to_utf8(text.get()) : std::string();
}

// Where the package was imported from, which is where children have to find it.
std::string package_of_this_python() {
  const ref package = ref::of(PyDict_GetItemString(PyImport_GetModuleDict(), "coppice"));
  const ref file = package ? ref::take(PyObject_GetAttrString(package.get(), "__file__")) : ref();
  PyErr_Clear();
  if (!file || !PyUnicode_Check(file.get())) return tree::python_package_path();
  const std::string path = to_utf8(file.get());  // …/coppice/__init__.py
  const auto folder = path.rfind('/');
  const auto parent = folder == std::string::npos ? folder : path.rfind('/', folder - 1);
  return parent == std::string::npos ? tree::python_package_path() : path.substr(0, parent);
}

struct program {
  std::unique_ptr<embedding> python;  // Null: guests are impossible here; the host says why.
  std::shared_ptr<python_host> host;  // Shared with the subint backend and the exit guard.
  std::unique_ptr<tree::process_runtime> runtime;
};

program open_program(tree::process_options options) {
  program p;
  std::string refusal;
  try {
    p.python = embedding::attach();
  } catch (const backend_unavailable& e) {
    refusal = e.what();
  }
  p.host = std::make_shared<python_host>(p.python.get(), std::move(refusal),
                                         executable_of_this_python(), package_of_this_python());
  options.make_backends = [host = p.host](tree::process_runtime& rt) {
    tree::backend_choices choices;
    choices.python_child = [host] { return host->child_program(); };
    choices.make_subint = [host](tree::process_runtime& of) { return host->make_subint(of); };
    return tree::standard_backends(rt, std::move(choices));
  };
  p.runtime = std::make_unique<tree::process_runtime>(std::move(options));
  return p;
}

bool stop_without_gil(tree::process_runtime& rt) {
  PyThreadState* mine = PyEval_SaveThread();  // Guests may need this GIL to end.
  const bool clean = rt.stop();
  PyEval_RestoreThread(mine);
  return clean;
}

/// What it threw.
template <class F>
std::exception_ptr without_gil(F&& f) {
  std::exception_ptr failure;
  PyThreadState* mine = PyEval_SaveThread();
  try {
    f();
  } catch (...) {
    failure = std::current_exception();
  }
  PyEval_RestoreThread(mine);
  return failure;
}

/// The root's port: its Aid says whether it is the registrar. Blocks while that is found out, if
/// addresses are given.
std::shared_ptr<port::guest_port> enter_registry(tree::process_runtime& rt, const std::string& name,
                                                 const std::vector<msg::wire_address>& registry) {
  const auto joined = rt.elect_registrars(registry);
  auto port = std::make_shared<port::guest_port>(
      tree::aid_of_guest({name, base::new_uuid()}, joined.empty()), rt.options().calls);
  if (registry.empty()) {
    rt.open_as_registrar(port, {}, [](const std::exception_ptr&) {});
    return port;
  }
  // Shared: it is still being set when we have been told.
  const auto told = std::make_shared<std::promise<void>>();
  auto done = [told](const std::exception_ptr& e) {
    e ? told->set_exception(e) : told->set_value();
  };
  if (joined.empty())
    rt.open_as_registrar(port, registry, done);
  else
    rt.join_registrars(port, joined, done);
  told->get_future().get();
  return port;
}

/// A root's functions are not called by number, and its program ends it.
class no_fence final : public call_fence {
  void begin_call(std::uint64_t) noexcept override {}
  void end_call(std::uint64_t) noexcept override {}
  bool stopping() const noexcept override { return false; }
};

struct python_root {
  coppice::py::program program;
  no_fence fence;
  std::shared_ptr<port::guest_port> port;
  std::unique_ptr<guest_actor> actor;
  duration linger{};
};

permission permission_from(options_reader& options, const char* name) {
  const std::string text = options.text(name, "refuse");
  if (text != "refuse" && text != "allow")
    throw std::invalid_argument(fmt::format("{}='{}': write 'refuse' or 'allow'", name, text));
  return text == "allow" ? permission::allow : permission::refuse;
}

/// The mapping `warm`; see _coppice.pyi.
spawn::stock_order stock_from(PyObject* mapping) {
  spawn::stock_order order;
  if (!mapping) return order;
  options_reader options(mapping, "WarmPool");
  const auto number = [&options](const char* name, unsigned otherwise) {
    PyObject* value = options.find(name);
    if (!value) return otherwise;
    const unsigned long n = PyLong_AsUnsignedLong(value);
    if (PyErr_Occurred()) throw python_error();
    return static_cast<unsigned>(std::min(n, 1'000'000ul));
  };
  order.pool.size = number("size", 0);
  order.pool.at_once_max = number("at_once", order.pool.at_once_max);
  order.pool.preload = options.texts("preload");
  order.pool.loop = options.text("loop", "");
  order.pool.fill_within = options.seconds("fill_within", order.pool.fill_within);
  order.pool.preload_within = options.seconds("preload_within", order.pool.preload_within);
  const std::string refill = options.text("refill", "background");
  order.pool.refill = refill == "never"       ? refill_when::never
                      : refill == "on_demand" ? refill_when::on_demand
                                              : refill_when::background;
  order.sys_path = options.texts("sys_path");
  order.main_script = options.text("main_script", "");
  options.finish();
  return order;
}

python_root* open_root_of_this_interpreter() {
  PyObject* dict = PyInterpreterState_GetDict(PyInterpreterState_Get());
  PyObject* capsule = dict ? PyDict_GetItemString(dict, root_key) : nullptr;
  return capsule ? static_cast<python_root*>(PyCapsule_GetPointer(capsule, root_key)) : nullptr;
}

}  // namespace

// --- the root
// ------------------------------------------------------------------------------------------

void open_root(const std::string& name, PyObject* mapping) {
  options_reader options(mapping, "open_root");
  options.find("start_method");  // Python's half applies these two to each start_child().
  options.find("stop");
  const duration linger = options.seconds("exit_linger", std::chrono::seconds(1));
  tree::process_options wanted;
  wanted.signals = tree::signal_mode::interrupt;
  if (PyObject* bytes = options.find("payload_bytes_max")) {
    wanted.calls.payload_bytes_max = PyLong_AsSize_t(bytes);
    if (PyErr_Occurred()) throw python_error();
  }
  transport_settings transports;
  transports.enable = options.texts("enable_transports");
  transports.peer_silence_max = options.seconds("peer_silence_max", transports.peer_silence_max);
  transports.insecure_tcp = permission_from(options, "insecure_tcp");
  transports.other_users = permission_from(options, "other_users");
  transports.tls.certificate_file = options.text("tls_certificate", "");
  transports.tls.key_file = options.text("tls_key", "");
  transports.tls.ca_file = options.text("tls_ca", "");
  const auto registry = addresses_from(options.find("registry_addrs"), "registry_addrs");
  const spawn::stock_order stock = stock_from(options.find("warm"));
  options.finish();
  wanted.use(transports);

  if (guest_actor* actor = guest_actor::current()) {
    if (!actor->is_root_script() || actor->is_open())
      throw error(
          fmt::format("the actor '{}' is running in this interpreter already: one at a time",
                      actor->port()->self().name));
    if (auto* rt = tree::process_runtime::current())
      if (const auto failure = without_gil([&] { rt->stock_up(stock); }))
        std::rethrow_exception(failure);
    return actor->set_open(true);
  }
  if (PyInterpreterState_Get() != PyInterpreterState_Main())
    throw error(
        "a root can be opened in the main interpreter only, not in a sub-interpreter of "
        "somebody else");

  auto root = std::make_unique<python_root>();
  root->program = open_program(std::move(wanted));
  root->linger = linger;
  auto& runtime = *root->program.runtime;
  if (const auto failure = without_gil([&] {
        root->port = enter_registry(runtime, name, registry);
        runtime.stock_up(stock);  // Guests need this GIL, now and then, to come up.
      })) {
    stop_without_gil(runtime);
    std::rethrow_exception(failure);
  }
  root->actor = std::make_unique<guest_actor>(root->port, root->fence, guest_actor_options{});
  runtime.on_interrupt([port = root->port](std::string why) { port->cancel(std::move(why)); });
  root->port->set_ready();

  PyObject* dict = PyInterpreterState_GetDict(PyInterpreterState_Get());
  const ref capsule = ref::take(PyCapsule_New(root.get(), root_key, nullptr));
  if (!dict || !capsule || !guard_exit(root->program.host, linger) || !root->actor->install() ||
      PyDict_SetItemString(dict, root_key, capsule.get()) != 0) {
    const ref why = take_error();
    root->actor->release();
    stop_without_gil(runtime);
    PyErr_SetRaisedException(Py_XNewRef(why.get()));
    throw python_error();
  }
  (void)root.release();  // The interpreter's, until close_root().
}

bool close_root() {
  if (guest_actor* actor = guest_actor::current(); actor && actor->is_root_script()) {
    actor->set_open(false);
    return true;
  }
  std::unique_ptr<python_root> root(open_root_of_this_interpreter());
  if (!root) return true;
  PyDict_DelItemString(PyInterpreterState_GetDict(PyInterpreterState_Get()), root_key);
  root->program.runtime->on_interrupt([](std::string) {});
  root->port->acknowledge_cancel();
  const bool clean = stop_without_gil(*root->program.runtime);
  root->actor->release();
  root->port->close("the root has ended");
  if (clean && !guard_exit(nullptr, root->linger)) PyErr_Clear();
  return clean;
}

// --- a process child
// -------------------------------------------------------------------------------------

int child_main(const std::string& uid_text, const std::string& parent_text) {
  auto [name, uuid] = ipc::parse_tuple(uid_text);
  const ipc::address parent = ipc::address::parse(parent_text);
  tree::process_options chosen;
  chosen.transport = parent.kind();  // Its own children reach it as it reaches its parent.
  program p = open_program(std::move(chosen));
  tree::process_runtime& rt = *p.runtime;
  auto port =
      std::make_shared<port::guest_port>(tree::aid_of_guest({name, uuid}), rt.options().calls);
  port->set_alone();
  auto fence = std::make_shared<main_fence>(port);
  if (!fence->install()) throw python_error();
  port->on_running_call_cancelled(
      [fence, control = rt.control()](port::call_id id) { fence->strike(control, id); });
  guest_actor actor(port, *fence, {});
  if (!actor.install()) throw python_error();

  // Written on the control loop before the port is told to end, read after.
  auto failure = std::make_shared<std::string>();
  rt.control()->post([&rt, port, parent, failure] {
    ipc::connect(rt.control(), parent, port->self(), port, rt.options().limits,
                 rt.options().transports, [port, failure](std::exception_ptr e, ipc::link_ptr l) {
                   // The address carries the parent's pid, not its uuid: who answers is it.
                   if (l) return port->set_parent(l->peer().uuid);
                   *failure = describe_exception(e);
                   port->cancel(*failure);
                 });
  });
  actor.serve();
  actor.release();

  fence->give_back_sigterm();
  rt.control()->post([fence] { fence->forget_loop(); });
  const int status = failure->empty() && actor.failure().empty() ? 0 : 1;
  if (!failure->empty())
    std::fprintf(stderr, "actor '%s': cannot join its parent: %s\n", name.c_str(),
                 failure->c_str());
  const bool clean = stop_without_gil(rt);
  port->close("the actor has ended");
  if (!clean) {
    flush_output();
    leave(status);
  }
  return status;
}

}  // namespace coppice::py
