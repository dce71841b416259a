// SPDX-License-Identifier: Apache-2.0
#include "pyext/dialogs.hpp"

#include <fmt/format.h>

#include <utility>

#include "pyext/convert.hpp"
#include "pyext/functions.hpp"
#include "pyext/guest_actor.hpp"
#include "pyext/native_module.hpp"
#include "pyhost/attribute.hpp"
#include "pyhost/codec.hpp"

namespace coppice::py {

namespace {

constexpr const char* endpoint_attribute = "_coppice_endpoint";

ref boolean(bool b) { return ref::of(b ? Py_True : Py_False); }

std::uint32_t messages_from(PyObject* number) {
  const long n = PyLong_AsLong(number);
  if (n == -1 && PyErr_Occurred()) throw python_error();
  if (n < 1 || n > 1'000'000) {
    PyErr_Format(PyExc_ValueError, "a stream's buffer holds 1 to 1000000 messages, not %ld", n);
    throw python_error();
  }
  return static_cast<std::uint32_t>(n);
}

payload encoded(PyObject* value, const char* what) {
  auto bytes = encode(value, what);
  if (!bytes) throw python_error();
  return std::move(*bytes);
}

}  // namespace

msg::call_kind dialog_kind_from(PyObject* text) {
  const std::string kind = text_from(text, "kind");
  if (kind == "context") return msg::call_kind::context;
  if (kind == "asyncgen") return msg::call_kind::asyncgen;
  throw_type_error(fmt::format("a dialog is a 'context' or an 'asyncgen', not '{}'", kind));
}

bool is_endpoint(PyObject* function) {
  if (!PyFunction_Check(function)) return false;
  PyObject* attributes = reinterpret_cast<PyFunctionObject*>(function)->func_dict;
  return attributes && PyDict_GetItemString(attributes, endpoint_attribute);
}

// --- the half of guest_actor that knows dialogs ------------------------------------------------

PyObject* guest_actor::serve_generator(port::call_id id, PyObject* generator) {
  const ref module = ref::take(PyImport_ImportModule("coppice._stream"));
  const ref serve = ref::take(module ? attribute(module.get(), "serve_generator") : nullptr);
  return serve ? PyObject_CallFunction(serve.get(), "OK", generator,
                                       static_cast<unsigned long long>(id))
               : nullptr;
}

void guest_actor::start_dialog(port::call_id id, PyObject* served, std::string name) {
  coroutine how{std::move(name)};
  try {
    how.kind = dialog_kind_from(PyTuple_GET_ITEM(served, 2));
  } catch (const python_error&) {
    return port_->finish(id, errors_.describe_pending());
  }
  how.token = Py_NewRef(PyTuple_GET_ITEM(served, 1));
  start_coroutine(id, ref::of(PyTuple_GET_ITEM(served, 0)), std::move(how));
}

void guest_actor::act(port::dialog_changed&& e) {
  PyObject* token = nullptr;
  if (const auto request = requests_.find(e.id); request != requests_.end())
    token = request->second.token;
  else if (const auto served = coroutines_.find(e.id); served != coroutines_.end())
    token = served->second.token;
  if (!token) return;
  const ref kept = ref::of(token);
  using kind = port::dialog_changed::kind;
  switch (e.what) {
    case kind::started: {
      ref value = ref::take(decode(e.value, "the first value"));
      if (value) return tell_dialog(kept.get(), "started", std::move(value));
      return tell_dialog(kept.get(), "failed", take_error());
    }
    case kind::readable:
      return tell_dialog(kept.get(), "readable", ref::of(Py_None));
    case kind::writable:
      return tell_dialog(kept.get(), "writable", ref::of(Py_None));
    case kind::failed: {
      ref error = errors_.make(std::make_exception_ptr(remote_actor_error(std::move(e.error))));
      if (!error) error = take_error();
      return tell_dialog(kept.get(), "failed", std::move(error));
    }
  }
}

void guest_actor::tell_dialog(PyObject* token, const char* what, ref value) {
  if (!dialog_ || !value) return;
  const ref word = to_str(what);
  if (!word) return complain(token);
  PyObject* arguments[] = {nullptr, token, word.get(), value.get()};
  const ref told = ref::take(PyObject_Vectorcall(dialog_.get(), arguments + 1,
                                                 3 | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr));
  if (!told) complain(dialog_.get());
}

port::request_id guest_actor::open_dialog(const ipc::link_ptr& to, const std::string& ns,
                                          const std::string& func, payload kwargs, ref token,
                                          msg::call_kind kind, port::stream_window window) {
  const port::request_id id = port_->open_dialog(to, ns, func, std::move(kwargs), kind, window);
  requests_.emplace(id, open_request{token.release(), to->peer().name, true});
  return id;
}

void guest_actor::release(port::dialog_id id) {
  forget(id);
  port_->release(id);
}

// --- functions of `_coppice` -------------------------------------------------------------------

ref open_dialog(PyObject* const* a) {
  guest_actor& actor = own_actor();
  const ipc::link_ptr to = link_of(a[0]);
  if (!to) return {};
  const std::string ns = text_from(a[1], "ns"), func = text_from(a[2], "func");
  payload kwargs = kwargs_from(a[3]);
  const msg::call_kind kind = dialog_kind_from(a[5]);
  port::stream_window window;
  // Who consumes a generator reads from the start.
  if (kind == msg::call_kind::asyncgen) window.messages = opened_window_messages;
  const auto id = actor.open_dialog(to, ns, func, std::move(kwargs), ref::of(a[4]), kind, window);
  if (kind == msg::call_kind::asyncgen) actor.port()->open_stream(id, window, false);
  return ref::take(PyLong_FromUnsignedLongLong(id));
}

ref start_dialog(PyObject* const* a) {
  const auto id = number_from(a[0]);
  payload value = encoded(a[1], "started");
  own_actor().port()->start_dialog(id, std::move(value));
  return none();
}

ref open_stream(PyObject* const* a) {
  const auto id = number_from(a[0]);
  guest_actor& actor = own_actor();
  port::stream_window window;
  if (a[1] != Py_None) {
    window.messages = messages_from(a[1]);
  } else if (const auto look = actor.port()->look(id); look && look->knows_credit) {
    window.messages = opened_window_messages;
  }
  actor.port()->open_stream(id, window, a[2] == Py_True);
  return none();
}

ref send_value(PyObject* const* a) {
  const auto id = number_from(a[0]);
  payload value = encoded(a[1], "value");
  const auto how = own_actor().port()->send(id, std::move(value));
  return ref::take(PyLong_FromLong(static_cast<long>(how)));
}

ref take_value(PyObject* const* a) {
  const auto id = number_from(a[0]);
  const port::taken t = own_actor().port()->take(id);
  switch (t.what) {
    case port::taken::kind::value:
      return ref::take(decode(t.value, "the value"));
    case port::taken::kind::nothing:
      return ref::of(Py_Ellipsis);
    case port::taken::kind::end:
      break;
  }
  return ref::of(Py_NotImplemented);
}

ref stop_stream(PyObject* const* a) {
  own_actor().port()->stop(number_from(a[0]));
  return none();
}

ref release_dialog(PyObject* const* a) {
  const auto id = number_from(a[0]);
  own_actor().release(id);
  return none();
}

ref peer_opened(PyObject* const* a) {
  return boolean(own_actor().port()->peer_opened(number_from(a[0])));
}

ref look_at_dialog(PyObject* const* a) {
  const auto look = own_actor().port()->look(number_from(a[0]));
  if (!look) return none();
  const ref cid = to_str(look->cid);
  if (!cid) return {};
  return ref::take(PyTuple_Pack(3, cid.get(), look->is_over ? Py_True : Py_False,
                                look->knows_credit ? Py_True : Py_False));
}

}  // namespace coppice::py
