// SPDX-License-Identifier: Apache-2.0
#include "pyext/errors.hpp"

#include <fmt/format.h>

#include <new>

#include "msg/messages.hpp"
#include "pyext/convert.hpp"

namespace coppice::py {

namespace {

// An error has to get through: its texts are cut far below any frame limit.
constexpr std::size_t message_bytes_max = 64u << 10;
constexpr std::size_t traceback_bytes_max = 256u << 10;

// In PyInterpreterState_GetDict().
constexpr const char* factory_key = "coppice.error_factory";
constexpr const char* remote_error_key = "coppice.remote_error";

PyObject* registered(const char* key) {
  PyObject* dict = PyInterpreterState_GetDict(PyInterpreterState_Get());
  return dict ? PyDict_GetItemString(dict, key) : nullptr;
}

bool put_registered(const char* key, PyObject* value) {
  PyObject* dict = PyInterpreterState_GetDict(PyInterpreterState_Get());
  if (!dict) return PyErr_NoMemory(), false;
  return PyDict_SetItemString(dict, key, value) == 0;
}

// Has it been raised, or was another one its reason? Else a traceback would only repeat its text,
// at the cost of an import.
bool has_story(PyObject* exception) {
  return ref::take(PyException_GetTraceback(exception)) ||
         ref::take(PyException_GetCause(exception)) || ref::take(PyException_GetContext(exception));
}

std::string formatted_traceback(PyObject* exception) {
  if (!has_story(exception)) return "";
  const ref module = ref::take(PyImport_ImportModule("traceback"));
  const ref lines =
      module ? ref::take(PyObject_CallMethod(module.get(), "format_exception", "O", exception))
             : ref();
  const ref nothing = to_str("");
  const ref text = lines && nothing ? ref::take(PyUnicode_Join(nothing.get(), lines.get())) : ref();
  if (!text) return PyErr_Clear(), "";
  return text_of(text.get(), traceback_bytes_max);
}

bool is_instance(PyObject* o, PyObject* cls) {
  const int is = PyObject_IsInstance(o, cls);
  if (is < 0) PyErr_Clear();
  return is > 0;
}

// Whoever passes an overrun on has not overrun anybody.
std::string boxed_type(PyObject* relayed) {
  std::string name = type_name(relayed);
  return name == "StreamOverrun" ? "RemoteActorError" : name;
}

// Python's own class of that name, borrowed; null if there is none.
PyObject* builtin_exception(std::string_view name) {
  PyObject* const builtins = PyEval_GetBuiltins();
  const ref key = name.empty() ? ref() : to_str(name);
  PyObject* const found = builtins && key ? PyDict_GetItemWithError(builtins, key.get()) : nullptr;
  if (!found) PyErr_Clear();
  return found && PyExceptionClass_Check(found) ? found : nullptr;
}

ref message_dict(const std::string& message) {
  const ref text = to_str(message);
  return text ? ref::take(Py_BuildValue("{sO}", "message", text.get())) : ref();
}

}  // namespace

bool error_bridge::set_factory(PyObject* make) { return put_registered(factory_key, make); }

bool error_bridge::set_remote_error(PyObject* cls) { return put_registered(remote_error_key, cls); }

// --- out of Python
// -----------------------------------------------------------------------------------

remote_error_info error_bridge::describe(PyObject* exception) const {
  return describe(exception, 0);
}

remote_error_info error_bridge::describe_pending() const {
  const ref exception = take_error();
  return exception ? describe(exception.get(), 0)
                   : describe("SystemError", "an operation failed without an exception");
}

remote_error_info error_bridge::describe(std::string type, std::string message) const {
  remote_error_info info;
  info.type = info.source_type = std::move(type);
  info.message = std::move(message);
  info.source = self_;
  info.path = {self_};
  return info;
}

remote_error_info error_bridge::describe(PyObject* exception, int depth) const {
  PyObject* remote_error = registered(remote_error_key);
  if (remote_error && is_instance(exception, remote_error)) {
    try {
      const ref mapping = ref::take(PyObject_GetAttrString(exception, "info"));
      if (!mapping) throw python_error();
      remote_error_info info = info_from(mapping.get());
      info.type = boxed_type(exception);  // What this actor boxes; source_type stays.
      // A cancellation is said anew by everybody who passes it on: who cancelled stays.
      if (info.type == "ContextCancelled") info.source = self_;
      if (info.path.empty()) info.traceback = formatted_traceback(exception);  // Raised here.
      info.path.push_back(self_);
      return info;
    } catch (const python_error&) {
      PyErr_Clear();  // Not one of ours after all: described like any other.
    }
  }
  remote_error_info info = describe(type_name(exception), text_of(exception, message_bytes_max));
  info.traceback = formatted_traceback(exception);
  if (depth < msg::members_depth_max && is_instance(exception, PyExc_BaseExceptionGroup)) {
    const ref members = ref::take(PyObject_GetAttrString(exception, "exceptions"));
    if (members && PyTuple_Check(members.get()))
      for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(members.get()); ++i)
        info.members.push_back(describe(PyTuple_GET_ITEM(members.get(), i), depth + 1));
    PyErr_Clear();
  }
  return info;
}

// --- into Python
// -------------------------------------------------------------------------------------

ref error_bridge::make(const char* kind, ref fields, PyObject* fallback,
                       const std::string& message) const {
  if (const ref factory = ref::of(registered(factory_key)); factory && fields) {
    ref made = ref::take(PyObject_CallFunction(factory.get(), "sO", kind, fields.get()));
    if (made && PyExceptionInstance_Check(made.get())) return made;
    if (!made) PyErr_WriteUnraisable(factory.get());
  }
  PyErr_Clear();
  const ref text = to_str(message);
  return text ? ref::take(PyObject_CallOneArg(fallback, text.get())) : ref();
}

ref error_bridge::make(const port::reply& r, const std::string& peer) const {
  if (r.how == port::reply::kind::died) {
    const std::string message = actor_died(peer, r.report).what();
    ref fields = message_dict(message);
    if (!set_item(fields.get(), "report", to_python(r.report)) ||
        !set_item(fields.get(), "name", to_str(peer)))
      PyErr_Clear();
    return make("died", std::move(fields), PyExc_ConnectionError, message);
  }
  return make(r.to_exception(peer));
}

ref error_bridge::make_start_error(const std::exception_ptr& e) const {
  try {
    std::rethrow_exception(e);
  } catch (const timeout_error& x) {
    return make(std::make_exception_ptr(actor_start_error(x.what())));
  } catch (...) {
    return make(std::current_exception());
  }
}

ref error_bridge::make(const std::exception_ptr& e) const {
  const auto simple = [&](const char* kind, PyObject* fallback, const std::exception& x) {
    return make(kind, message_dict(x.what()), fallback, x.what());
  };
  const auto builtin = [](PyObject* cls, const std::exception& x) {
    const ref text = to_str(x.what());
    return text ? ref::take(PyObject_CallOneArg(cls, text.get())) : ref();
  };
  try {
    std::rethrow_exception(e);
  } catch (const python_error&) {
    return take_error();
  } catch (const remote_actor_error& x) {
    return make("remote", to_python(x.info()), PyExc_RuntimeError, x.what());
  } catch (const actor_died& x) {
    ref fields = message_dict(x.what());
    if (!set_item(fields.get(), "report", to_python(x.report())) ||
        !set_item(fields.get(), "name", to_str("")))
      PyErr_Clear();
    return make("died", std::move(fields), PyExc_ConnectionError, x.what());
  } catch (const transport_closed& x) {
    return simple("closed", PyExc_ConnectionError, x);
  } catch (const actor_start_error& x) {
    ref fields = message_dict(x.what());
    if (!set_item(fields.get(), "report", to_python(x.report()))) PyErr_Clear();
    return make("start", std::move(fields), PyExc_RuntimeError, x.what());
  } catch (const backend_unavailable& x) {
    return simple("unavailable", PyExc_RuntimeError, x);
  } catch (const limit_exceeded& x) {
    return simple("limit", PyExc_RuntimeError, x);
  } catch (const call_stuck& x) {
    return simple("stuck", PyExc_RuntimeError, x);
  } catch (const message_type_error& x) {
    if (x.bad() == nullptr) return builtin(PyExc_TypeError, x);
    remote_error_info info = to_remote(e, self_);
    info.path.clear();  // It has not travelled yet.
    return make("remote", to_python(info), PyExc_TypeError, x.what());
  } catch (const std::bad_alloc&) {
    return ref::of(PyExc_MemoryError);
  } catch (const std::exception& x) {
    PyObject* same = builtin_exception(wire_name_of(x));
    return same ? builtin(same, x) : simple("runtime", PyExc_RuntimeError, x);
  } catch (...) {
    return simple("runtime", PyExc_RuntimeError, error(describe_exception(e)));
  }
}

void error_bridge::raise(const std::exception_ptr& e) const {
  const ref made = make(e);
  if (!made) return;  // The reason for that is set.
  if (PyExceptionInstance_Check(made.get()))
    PyErr_SetRaisedException(Py_NewRef(made.get()));
  else
    PyErr_SetNone(made.get());
}

}  // namespace coppice::py
