// SPDX-License-Identifier: Apache-2.0
#include "pyext/convert.hpp"

#include <fmt/format.h>

#include <cmath>
#include <cstring>

#include "msg/messages.hpp"
#include "pyhost/codec.hpp"

namespace coppice::py {

namespace {

const char* to_string(exit_report::cause c) noexcept {
  switch (c) {
    case exit_report::cause::returned:
      return "returned";
    case exit_report::cause::failed:
      return "failed";
    case exit_report::cause::exited:
      return "exited";
    case exit_report::cause::signalled:
      return "signalled";
    case exit_report::cause::lost:
      return "lost";
    case exit_report::cause::abandoned:
      return "abandoned";
  }
  return "unknown";
}

template <class Items>
ref list_of(const Items& items) {
  ref list = checked(ref::take(PyList_New(0)));
  for (const auto& item : items) {
    const ref one = checked(to_python(item));
    if (PyList_Append(list.get(), one.get()) != 0) throw python_error();
  }
  return list;
}

void put(const ref& dict, const char* name, const ref& value) {
  if (PyDict_SetItemString(dict.get(), name, checked(ref::of(value.get())).get()) != 0)
    throw python_error();
}

void put(const ref& dict, const char* name, const std::optional<uid>& who) {
  put(dict, name, who ? to_python(*who) : ref::of(Py_None));
}

// A dict; None if it was not kept, or is none that Python can read.
ref decoded(const bad_message& bad) {
  if (bad.bytes.empty()) return ref::of(Py_None);
  const payload bytes({}, bad.bytes);
  ref message = ref::take(py::decode(bytes, "bad_msg"));
  if (!message) PyErr_Clear();
  return message ? std::move(message) : ref::of(Py_None);
}

ref mismatch_of(const bad_message& bad) {
  ref dict = checked(ref::take(PyDict_New()));
  put(dict, "type", to_str(bad.type));
  put(dict, "expected", to_str(bad.expected));
  put(dict, "got", to_str(bad.got));
  put(dict, "cid", to_str(bad.cid));
  put(dict, "bad_msg", decoded(bad));
  return dict;
}

double seconds(duration d) { return std::chrono::duration<double>(d).count(); }

}  // namespace

void throw_type_error(const std::string& text) {
  PyErr_SetString(PyExc_TypeError, text.c_str());
  throw python_error();
}

// --- to Python -----------------------------------------------------------------------------------

ref to_python(const uid& who) {
  const ref name = to_str(who.name), uuid = to_str(who.uuid);
  if (!name || !uuid) return {};
  return ref::take(PyTuple_Pack(2, name.get(), uuid.get()));
}

ref to_python(const exit_report& report) {
  const ref text = to_str(report.text());
  if (!text) return {};
  return ref::take(Py_BuildValue("(ssidO)", coppice::to_string(report.rung), to_string(report.how),
                                 report.status, seconds(report.took), text.get()));
}

ref to_python(const remote_error_info& info) {
  try {
    const ref dict = checked(ref::take(PyDict_New()));
    put(dict, "type", to_str(info.type));
    put(dict, "source_type", to_str(info.source_type));
    put(dict, "message", to_str(info.message));
    put(dict, "traceback", to_str(info.traceback));
    put(dict, "source", to_python(info.source));
    put(dict, "path", list_of(info.path));
    put(dict, "canceller", info.canceller);
    put(dict, "sender", info.sender);
    put(dict, "mismatch", info.bad_msg ? mismatch_of(*info.bad_msg) : ref::of(Py_None));
    put(dict, "members", list_of(info.members));
    return ref::of(dict.get());
  } catch (const python_error&) {
    return {};
  }
}

// --- from Python ---------------------------------------------------------------------------------

std::string text_from(PyObject* str, const char* what) {
  if (!PyUnicode_Check(str))
    throw_type_error(fmt::format("{} must be a str, not '{}'", what, type_name(str)));
  Py_ssize_t size = 0;
  const char* text = PyUnicode_AsUTF8AndSize(str, &size);
  if (!text) throw python_error();
  return {text, static_cast<std::size_t>(size)};
}

uid uid_from(PyObject* pair, const char* what) {
  const ref items = ref::take(PySequence_Fast(pair, "a uid must be a pair of str"));
  if (!items) throw python_error();
  if (PySequence_Fast_GET_SIZE(items.get()) != 2)
    throw_type_error(fmt::format("{} must be a pair (name, uuid)", what));
  return {text_from(PySequence_Fast_GET_ITEM(items.get(), 0), what),
          text_from(PySequence_Fast_GET_ITEM(items.get(), 1), what)};
}

namespace {

// Empty: it is not there, or None.
ref optional_item(PyObject* mapping, const char* name) {
  const ref key = checked(to_str(name));
  PyObject* found = nullptr;
  if (PyMapping_GetOptionalItem(mapping, key.get(), &found) < 0) throw python_error();
  ref value = ref::take(found);
  return value.get() == Py_None ? ref() : std::move(value);
}

std::optional<uid> optional_uid(PyObject* mapping, const char* name) {
  const ref pair = optional_item(mapping, name);
  return pair ? std::optional(uid_from(pair.get(), name)) : std::nullopt;
}

std::optional<bad_message> bad_message_from(PyObject* mapping) {
  const ref about = optional_item(mapping, "mismatch");
  if (!about) return std::nullopt;
  const auto text = [&](const char* name) {
    const ref value = optional_item(about.get(), name);
    return value ? to_utf8(value.get()) : std::string();
  };
  bad_message bad{text("type"), text("expected"), text("got"), text("cid"), {}};
  const ref message = optional_item(about.get(), "bad_msg");
  if (!message || !PyDict_Check(message.get())) return bad;
  // What cannot travel is why there is an error at all: it goes without.
  msgpack::buffer bytes;
  if (!py::encode(message.get(), "bad_msg", bytes))
    PyErr_Clear();
  else if (bytes.size() <= bad_message_bytes_max)
    bad.bytes.assign(bytes.bytes().begin(), bytes.bytes().end());
  return bad;
}

}  // namespace

remote_error_info info_from(PyObject* mapping, int depth) {
  const auto get = [&](const char* name) {
    const ref key = checked(to_str(name));
    PyObject* value = PyObject_GetItem(mapping, key.get());
    return checked(ref::take(value));
  };
  remote_error_info info;
  info.type = text_from(get("type").get(), "type");
  info.source_type = text_from(get("source_type").get(), "source_type");
  info.message = to_utf8(get("message").get());
  info.traceback = to_utf8(get("traceback").get());
  info.source = uid_from(get("source").get(), "source");
  const ref path = checked(ref::take(PySequence_Fast(get("path").get(), "path must be a list")));
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(path.get()); ++i)
    info.path.push_back(uid_from(PySequence_Fast_GET_ITEM(path.get(), i), "path"));
  info.canceller = optional_uid(mapping, "canceller");
  info.sender = optional_uid(mapping, "sender");
  info.bad_msg = bad_message_from(mapping);
  const ref members =
      checked(ref::take(PySequence_Fast(get("members").get(), "members must be a list")));
  if (depth < msg::members_depth_max)
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(members.get()); ++i)
      info.members.push_back(info_from(PySequence_Fast_GET_ITEM(members.get(), i), depth + 1));
  return info;
}

duration seconds_from(PyObject* number, const char* what) {
  const double s = PyFloat_AsDouble(number);
  if (s == -1.0 && PyErr_Occurred()) {
    PyErr_Clear();
    throw_type_error(
        fmt::format("{} must be a number of seconds, not '{}'", what, type_name(number)));
  }
  // A year is for ever; infinity too. Beyond, nanoseconds would overflow.
  constexpr double for_ever = 366.0 * 86400;
  if (std::isnan(s) || s < 0) {
    PyErr_Format(PyExc_ValueError, "%s must not be negative", what);
    throw python_error();
  }
  return std::chrono::duration_cast<duration>(std::chrono::duration<double>(std::min(s, for_ever)));
}

stop_policy stop_from(PyObject* tuple, const char* what) {
  if (!PyTuple_Check(tuple) || PyTuple_GET_SIZE(tuple) != 6)
    throw_type_error(
        fmt::format("{} must be a tuple (ask, unseen, interrupt, force, total, may_force)", what));
  const auto at = [&](Py_ssize_t i, const char* name) {
    return seconds_from(PyTuple_GET_ITEM(tuple, i), name);
  };
  stop_policy p;
  p.ask = at(0, "stop.ask");
  p.unseen = at(1, "stop.unseen");
  p.interrupt = at(2, "stop.interrupt");
  p.force = at(3, "stop.force");
  p.total = at(4, "stop.total");
  p.may_force = PyTuple_GET_ITEM(tuple, 5) == Py_True;
  return p;
}

// --- options
// ---------------------------------------------------------------------------------------

options_reader::options_reader(PyObject* mapping, const char* function) : function_(function) {
  if (PyDict_CheckExact(mapping)) {
    dict_ = ref::of(mapping);
    return;
  }
  dict_ = checked(ref::take(PyDict_New()));
  if (PyDict_Update(dict_.get(), mapping) != 0) throw python_error();
}

PyObject* options_reader::find(const char* name) {
  known_.push_back(name);
  PyObject* value = PyDict_GetItemString(dict_.get(), name);
  return value == Py_None ? nullptr : value;
}

std::string options_reader::text(const char* name, std::string otherwise) {
  PyObject* value = find(name);
  return value ? text_from(value, name) : std::move(otherwise);
}

duration options_reader::seconds(const char* name, duration otherwise) {
  PyObject* value = find(name);
  return value ? seconds_from(value, name) : otherwise;
}

std::vector<std::string> options_reader::texts(const char* name) {
  std::vector<std::string> out;
  PyObject* list = find(name);
  if (!list) return out;
  const ref items = checked(ref::take(PySequence_Fast(list, "a list of str is wanted")));
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(items.get()); ++i)
    out.push_back(text_from(PySequence_Fast_GET_ITEM(items.get(), i), name));
  return out;
}

stop_policy options_reader::stop(const char* name) {
  PyObject* value = find(name);
  return value ? stop_from(value, name) : stop_policy();
}

void options_reader::finish() {
  PyObject *key = nullptr, *value = nullptr;
  Py_ssize_t position = 0;
  while (PyDict_Next(dict_.get(), &position, &key, &value)) {
    const std::string name = to_utf8(key);
    bool known = false;
    for (const char* k : known_) known = known || name == k;
    if (!known) throw_type_error(fmt::format("{}() has no option '{}'", function_, name));
  }
}

}  // namespace coppice::py
