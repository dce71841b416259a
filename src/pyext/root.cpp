// SPDX-License-Identifier: Apache-2.0
#include "pyext/root.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <future>
#include <memory>
#include <string_view>
#include <utility>

#include "actor/backends.hpp"
#include "actor/process_runtime.hpp"
#include "base/uuid.hpp"
#include "coppice/errors.hpp"
#include "pyext/convert.hpp"
#include "pyext/guest_actor.hpp"
#include "pyext/leaving.hpp"
#include "pyext/lookups.hpp"
#include "pyext/program.hpp"

namespace coppice::py {

namespace {

constexpr const char* root_key = "coppice.root";  // In PyInterpreterState_GetDict().

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

guest_budget budget_from(PyObject* tuple) {
  guest_budget budget;
  if (!tuple) return budget;
  const char* then = nullptr;
  if (!PyArg_ParseTuple(tuple, "nns", &budget.forced_max, &budget.quarantined_max, &then))
    throw python_error();
  if (std::string_view(then) == "other_process") budget.then = guest_budget::policy::other_process;
  if (std::string_view(then) == "end") budget.then = guest_budget::policy::end;
  return budget;
}

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
  wanted.guests = budget_from(options.find("guests"));
  wanted.forkserver_preload.modules = options.texts("forkserver_preload");
  wanted.forkserver_preload.sys_path = options.texts("sys_path");
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

}  // namespace coppice::py
