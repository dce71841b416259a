// SPDX-License-Identifier: Apache-2.0
#include "pyhost/plain_form.hpp"

#include <cstdio>

#include "pyhost/attribute.hpp"

namespace coppice::py {

namespace {

// Of a module that was imported already; null, without an exception, if it was not.
PyObject* imported(const char* module, const char* name) {
  PyObject* found = PyDict_GetItemString(PyImport_GetModuleDict(), module);  // Borrowed.
  PyObject* value = found ? attribute(found, name) : nullptr;
  if (!value) PyErr_Clear();
  return value;
}

bool is_a(PyObject* o, const char* module, const char* name) {
  const owned cls(imported(module, name));
  return cls && PyType_Check(cls.get()) &&
         PyType_IsSubtype(Py_TYPE(o), reinterpret_cast<PyTypeObject*>(cls.get()));
}

plain_form as_object(PyObject* made) {
  if (!made) return {plain_form::kind::failed};
  return {plain_form::kind::object, made};
}
plain_form as_text(PyObject* made) {
  if (made && !PyUnicode_CheckExact(made)) {  // A method of a subclass, perhaps.
    Py_DECREF(made);
    PyErr_SetString(PyExc_TypeError, "its text is no str");
    made = nullptr;
  }
  return as_object(made);
}

// Not of a class as a value: its fields are those of its instances.
PyObject* type_attribute(PyObject* o, const char* name) {
  return optional_attribute(reinterpret_cast<PyObject*>(Py_TYPE(o)), name);
}

// Fields only: the dict has ClassVars and InitVars too.
PyObject* map_of_fields(PyObject* o, PyObject* fields) {
  owned map(PyDict_New());
  const owned ordinary(imported("dataclasses", "_FIELD"));
  if (!map) return nullptr;
  PyObject *name = nullptr, *field = nullptr;
  Py_ssize_t position = 0;
  while (PyDict_Next(fields, &position, &name, &field)) {
    const owned held_name(Py_NewRef(name)), held_field(Py_NewRef(field));  // Getters are Python.
    const owned kind(attribute(field, "_field_type"));
    if (!kind) return nullptr;
    if (kind.get() != ordinary.get()) continue;
    const owned value(PyObject_GetAttr(o, held_name.get()));
    if (!value || PyDict_SetItem(map.get(), held_name.get(), value.get()) != 0) return nullptr;
  }
  return map.release();
}

// --- the time classes ---

bool number_of(PyObject* o, const char* name, long long& to) {
  const owned value(attribute(o, name));
  if (!value) return false;
  to = PyLong_AsLongLong(value.get());
  return to != -1 || !PyErr_Occurred();
}

// days, seconds and microseconds of a timedelta, whose last two are never negative.
struct span {
  long long days = 0, seconds = 0, microseconds = 0;
};
bool span_of(PyObject* delta, span& to) {
  return number_of(delta, "days", to.days) && number_of(delta, "seconds", to.seconds) &&
         number_of(delta, "microseconds", to.microseconds);
}

// ISO 8601: "P1DT3.5S", "-PT0.25S".
PyObject* text_of_timedelta(PyObject* o) {
  span s;
  if (!span_of(o, s)) return nullptr;
  const bool negative = s.days < 0;
  long long seconds = s.days * 86400 + s.seconds, micros = s.microseconds;
  if (negative) {
    seconds = -seconds - (micros > 0 ? 1 : 0);
    micros = micros > 0 ? 1'000'000 - micros : 0;
  }
  const long long days = seconds / 86400;
  seconds %= 86400;
  char date[32] = "", time[40] = "";
  if (days != 0) std::snprintf(date, sizeof date, "%lldD", days);
  if (micros != 0)
    std::snprintf(time, sizeof time, "T%lld.%06lldS", seconds, micros);
  else if (seconds != 0 || days == 0)
    std::snprintf(time, sizeof time, "T%lldS", seconds);
  return PyUnicode_FromFormat("%sP%s%s", negative ? "-" : "", date, time);
}

plain_form time_of(PyObject* o) {
  const owned offset(call_method(o, "utcoffset"));
  if (!offset) return {plain_form::kind::failed};
  if (offset.get() == Py_None) return as_text(call_method(o, "isoformat"));
  // By subtraction, not timestamp(): a double has no room for the microseconds of every year.
  const owned utc(imported("datetime", "UTC"));
  const owned cls(imported("datetime", "datetime"));
  const owned epoch(
      utc && cls ? PyObject_CallFunction(cls.get(), "iiiiiiiO", 1970, 1, 1, 0, 0, 0, 0, utc.get())
                 : nullptr);
  const owned since(epoch ? PyNumber_Subtract(o, epoch.get()) : nullptr);
  span s;
  if (!since || !span_of(since.get(), s)) {
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_RuntimeError, "the module datetime is not whole");
    return {plain_form::kind::failed};
  }
  return {plain_form::kind::time,
          nullptr,
          {s.days * 86400 + s.seconds, static_cast<std::uint32_t>(s.microseconds * 1000)}};
}

plain_form of_standard_library(PyObject* o) {
  if (is_a(o, "datetime", "datetime")) return time_of(o);  // Before date, its base.
  if (is_a(o, "datetime", "date") || is_a(o, "datetime", "time"))
    return as_text(call_method(o, "isoformat"));
  if (is_a(o, "datetime", "timedelta")) return as_text(text_of_timedelta(o));
  if (is_a(o, "decimal", "Decimal") || is_a(o, "uuid", "UUID")) return as_text(PyObject_Str(o));
  return {};
}

}  // namespace

plain_form plain_form::of(PyObject* o) {
  if (PyAnySet_Check(o)) return as_object(PySequence_List(o));
  const owned fields(type_attribute(o, "__dataclass_fields__"));
  if (fields && PyDict_Check(fields.get())) return as_object(map_of_fields(o, fields.get()));
  // A msgspec.Struct: whether it is a map or an array, and its tag, is msgspec's business.
  if (const owned is_struct(type_attribute(o, "__struct_fields__")); is_struct) {
    const owned to_builtins(imported("msgspec", "to_builtins"));
    if (to_builtins) return as_object(PyObject_CallOneArg(to_builtins.get(), o));
  }
  return of_standard_library(o);
}

PyObject* datetime_of(timestamp t) {
  const owned module(PyImport_ImportModule("datetime"));
  const owned utc(module ? attribute(module.get(), "UTC") : nullptr);
  const owned cls(utc ? attribute(module.get(), "datetime") : nullptr);
  const owned delta_type(cls ? attribute(module.get(), "timedelta") : nullptr);
  if (!delta_type) return nullptr;
  const owned epoch(
      PyObject_CallFunction(cls.get(), "iiiiiiiO", 1970, 1, 1, 0, 0, 0, 0, utc.get()));
  const owned since(PyObject_CallFunction(delta_type.get(), "iLL", 0,
                                          static_cast<long long>(t.seconds),
                                          static_cast<long long>(t.nanoseconds / 1000)));
  return epoch && since ? PyNumber_Add(epoch.get(), since.get()) : nullptr;
}

}  // namespace coppice::py
