// SPDX-License-Identifier: Apache-2.0
#include "pyext/lookups.hpp"

#include <fmt/format.h>

#include <memory>
#include <stdexcept>
#include <utility>

#include "actor/process_runtime.hpp"
#include "pyext/convert.hpp"
#include "pyext/guest_actor.hpp"
#include "pyext/native_module.hpp"

namespace coppice::py {

namespace {

constexpr const char* handle_name = "coppice.lookup";

struct lookup_handle {
  tree::discovery::lookup_id id;
  // Shared with the control loop, which fills it before the port is told.
  std::shared_ptr<std::vector<ipc::link_ptr>> links;
  bool ended = false;
};

lookup_handle& handle_of(PyObject* object) {
  auto* h = static_cast<lookup_handle*>(PyCapsule_GetPointer(object, handle_name));
  if (!h) throw python_error();
  return *h;
}

void end(lookup_handle& h) {
  if (std::exchange(h.ended, true)) return;
  if (auto* rt = tree::process_runtime::current()) rt->lookups().release(h.id);
}

void drop(PyObject* capsule) {
  auto* h = static_cast<lookup_handle*>(PyCapsule_GetPointer(capsule, handle_name));
  end(*h);
  const std::unique_ptr<lookup_handle> gone(h);
}

msg::wire_address address_from(PyObject* one, const char* what) {
  if (PyUnicode_Check(one)) return tree::parse_address(text_from(one, what));
  const ref pair = ref::take(PySequence_Tuple(one));
  if (!pair) throw python_error();
  if (PyTuple_GET_SIZE(pair.get()) != 2)
    throw_type_error(fmt::format("{}: an address is (host, port) or (directory, file)", what));
  std::string first = text_from(PyTuple_GET_ITEM(pair.get(), 0), what);
  PyObject* second = PyTuple_GET_ITEM(pair.get(), 1);
  if (!PyLong_Check(second)) return msg::uds_address{std::move(first), text_from(second, what)};
  const long port = PyLong_AsLong(second);
  if (port < 0 || port > 65535) {
    PyErr_Clear();
    throw std::invalid_argument(fmt::format("{}: a port is a number up to 65535", what));
  }
  return msg::tcp_address{std::move(first), static_cast<std::uint16_t>(port)};
}

tree::lookup::what kind_from(const std::string& text) {
  if (text == "find") return tree::lookup::what::find;
  if (text == "wait") return tree::lookup::what::wait;
  if (text == "query") return tree::lookup::what::query;
  if (text == "registry") return tree::lookup::what::registry;
  throw std::invalid_argument("there is no lookup '" + text + "'");
}

port::reply reply_of(tree::lookup_result& r, tree::lookup::what wanted) {
  port::reply reply;
  if (r.error) {
    reply.why = describe_exception(r.error);
    return reply;
  }
  reply.how = port::reply::kind::value;
  const bool connects = wanted == tree::lookup::what::find || wanted == tree::lookup::what::wait;
  reply.value = connects ? to_payload(!r.links.empty()) : std::move(r.raw);
  return reply;
}

}  // namespace

std::vector<msg::wire_address> addresses_from(PyObject* list, const char* what) {
  std::vector<msg::wire_address> out;
  if (!list || list == Py_None) return out;
  if (PyUnicode_Check(list)) throw_type_error(fmt::format("{} is a list of addresses", what));
  const ref items = ref::take(PySequence_Fast(list, "a list of addresses is wanted"));
  if (!items) throw python_error();
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(items.get()); ++i)
    out.push_back(address_from(PySequence_Fast_GET_ITEM(items.get(), i), what));
  return out;
}

ref start_lookup(guest_actor& actor, PyObject* kind, PyObject* name, PyObject* mapping,
                 PyObject* token) {
  auto* rt = tree::process_runtime::current();
  if (!rt) throw error("no runtime is open in this process");
  tree::lookup wanted;
  wanted.wanted = kind_from(text_from(kind, "kind"));
  wanted.name = text_from(name, "name");
  options_reader options(mapping, "start_lookup");
  wanted.registrars = addresses_from(options.find("registry_addrs"), "registry_addrs");
  if (PyObject* only = options.find("only_first")) wanted.only_first = PyObject_IsTrue(only) == 1;
  options.finish();

  auto h = std::make_unique<lookup_handle>();
  h->id = rt->lookups().new_id();
  h->links = std::make_shared<std::vector<ipc::link_ptr>>();
  const auto id = h->id;
  const auto links = h->links;
  ref capsule = ref::take(PyCapsule_New(h.get(), handle_name, &drop));
  if (!capsule) throw python_error();
  (void)h.release();  // The capsule's.
  actor.expect(id, ref::of(token), "registrar");
  rt->lookups().start(
      id, actor.port(), wanted,
      [port = actor.port(), links, id, what = wanted.wanted](tree::lookup_result&& r) {
        *links = r.links;
        port->deliver(port::reply_arrived{id, reply_of(r, what)});
      });
  return capsule;
}

void forget_lookup(guest_actor& actor, PyObject* handle) {
  auto& h = handle_of(handle);
  actor.forget(h.id);
  end(h);
}

ref found_by(PyObject* handle) {
  const auto& h = handle_of(handle);
  ref list = ref::take(PyList_New(0));
  if (!list) throw python_error();
  for (const auto& l : *h.links) {
    const ref made = make_link(l);
    if (!made || PyList_Append(list.get(), made.get()) != 0) throw python_error();
  }
  return list;
}

void end_lookup(PyObject* handle) { end(handle_of(handle)); }

}  // namespace coppice::py
