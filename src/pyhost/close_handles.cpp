// SPDX-License-Identifier: Apache-2.0
#include "pyhost/close_handles.hpp"

#include <algorithm>
#include <vector>

#include "pyhost/live_handles.hpp"
#include "pyhost/python.hpp"

namespace coppice::py {
namespace {

// Modules/_io/bufferedio.c, the same in 3.14 and 3.15. Trusted only after layout_is_known().
struct buffered_layout {
  PyObject ob_base;
  PyObject* raw;
  int ok, detached, readable, writable;
  char finalizing;
  int fast_closed_checks;
  Py_ssize_t abs_pos;
  char* buffer;
  Py_ssize_t pos, raw_pos, read_end, write_pos, write_end;
  PyThread_type_lock lock;
  volatile unsigned long owner;
  Py_ssize_t buffer_size;
};

// A type of a module that is imported, as a borrowed reference; null if either is not there.
PyTypeObject* imported_type(const char* module, const char* name) {
  PyObject* m = PyDict_GetItemString(PyImport_GetModuleDict(), module);
  PyObject* type =
      m && PyModule_Check(m) ? PyDict_GetItemString(PyModule_GetDict(m), name) : nullptr;
  return type && PyType_Check(type) ? reinterpret_cast<PyTypeObject*>(type) : nullptr;
}

struct closable {
  PyTypeObject* type;
  PyObject* close;  // The C method of `type` itself: a subclass's override never runs. Owned.
};

struct search {
  std::vector<closable> closables;
  std::vector<PyTypeObject*> buffered;
  PyTypeObject* text = nullptr;
  std::vector<std::pair<PyObject*, PyObject*>> found;  // (object, close); objects owned.
  std::vector<PyObject*> found_buffered;               // Owned.
  std::vector<PyObject*> found_text;                   // Owned.
};

void add_closable(search& s, const char* module, const char* type_name) {
  PyTypeObject* type = imported_type(module, type_name);
  PyObject* close =
      type ? PyObject_GetAttrString(reinterpret_cast<PyObject*>(type), "close") : nullptr;
  if (close) s.closables.push_back({type, close});
  PyErr_Clear();
}

void note(search& s, PyObject* object) {
  for (const closable& c : s.closables) {
    if (!PyObject_TypeCheck(object, c.type)) continue;
    s.found.emplace_back(Py_NewRef(object), c.close);
    return;
  }
  for (PyTypeObject* type : s.buffered) {
    if (PyObject_TypeCheck(object, type)) s.found_buffered.push_back(Py_NewRef(object));
  }
  if (s.text && PyObject_TypeCheck(object, s.text)) s.found_text.push_back(Py_NewRef(object));
}

int visit_object(PyObject* object, void* context) {
  note(*static_cast<search*>(context), object);
  return 1;
}

// Whoever holds them: a list, a name, or nobody but a frame that never runs again.
void find(search& s) {
  PyUnstable_GC_VisitObjects(visit_object, &s);
  for (PyObject* handle : live_handles()) {  // The collector does not know those.
    note(s, handle);
    Py_DECREF(handle);
  }
  PyErr_Clear();
}

// Makes a buffer with a known size and looks whether the fields are where we think.
bool layout_is_known() {
  PyTypeObject* reader = imported_type("_io", "BufferedReader");
  PyTypeObject* bytes = imported_type("_io", "BytesIO");
  if (!reader || !bytes) return false;
  PyObject* raw = PyObject_CallNoArgs(reinterpret_cast<PyObject*>(bytes));
  PyObject* probe =
      raw ? PyObject_CallFunction(reinterpret_cast<PyObject*>(reader), "Oi", raw, 4242) : nullptr;
  bool known = false;
  if (probe && reader->tp_basicsize > static_cast<Py_ssize_t>(sizeof(buffered_layout))) {
    const auto* b = reinterpret_cast<const buffered_layout*>(probe);
    known = b->raw == raw && b->ok == 1 && b->readable == 1 && b->writable == 0 &&
            b->lock != nullptr && b->owner == 0 && b->buffer_size == 4242;
  }
  Py_XDECREF(probe);
  Py_XDECREF(raw);
  PyErr_Clear();
  return known;
}

bool is_held(PyObject* buffered) {
  PyThread_type_lock lock = reinterpret_cast<buffered_layout*>(buffered)->lock;
  if (!lock) return false;
  if (PyThread_acquire_lock(lock, NOWAIT_LOCK) == 0) return true;
  PyThread_release_lock(lock);
  return false;
}

bool is_free(const std::vector<PyTypeObject*>& types, PyObject* object) {
  for (PyTypeObject* type : types) {
    if (PyObject_TypeCheck(object, type)) return !is_held(object);
  }
  return false;  // Not one whose lock we can look at.
}

// The C method of `type`, whatever a subclass overrides.
void call(PyTypeObject* type, const char* method, PyObject* object) {
  PyObject* function = PyObject_GetAttrString(reinterpret_cast<PyObject*>(type), method);
  PyObject* result = function ? PyObject_CallOneArg(function, object) : nullptr;
  Py_XDECREF(result);
  Py_XDECREF(function);
  PyErr_Clear();
}

// Text first: it flushes into its buffer.
void flush_free(const search& s) {
  for (PyObject* t : s.found_text) {
    PyObject* buffer = PyObject_GetAttrString(t, "buffer");
    PyErr_Clear();
    if (buffer && is_free(s.buffered, buffer)) call(s.text, "flush", t);
    Py_XDECREF(buffer);
  }
  for (PyObject* b : s.found_buffered) {
    if (!is_held(b)) call(Py_TYPE(b), "flush", b);
  }
}

bool is_standard_stream(PyObject* raw) {
  // False: the fd is not the file's to close.
  PyObject* owns = PyObject_GetAttrString(raw, "closefd");
  PyErr_Clear();
  const bool standard = owns == Py_False;
  Py_XDECREF(owns);
  return standard;
}

void look_for_closables(search& s) {
  add_closable(s, "_io", "FileIO");
  add_closable(s, "_io", "_RawIOBase");  // SocketIO and the like: marks them closed.
  add_closable(s, "_socket", "socket");
  add_closable(s, "select", "epoll");
  add_closable(s, "mmap", "mmap");  // It has a descriptor of its own of the file.
  for (const char* name : {"BufferedReader", "BufferedWriter", "BufferedRandom"}) {
    if (PyTypeObject* type = imported_type("_io", name)) s.buffered.push_back(type);
  }
  s.text = imported_type("_io", "TextIOWrapper");
}

void let_go(const search& s) {
  for (auto& [object, close] : s.found) Py_DECREF(object);
  for (PyObject* b : s.found_buffered) Py_DECREF(b);
  for (PyObject* t : s.found_text) Py_DECREF(t);
  for (const closable& c : s.closables) Py_DECREF(c.close);
}

}  // namespace

PyObject* list_handles() noexcept {
  PyObject* list = PyList_New(0);
  search s;
  look_for_closables(s);
  find(s);
  for (auto& [object, close] : s.found) {
    if (list) PyList_Append(list, object);
  }
  let_go(s);
  PyErr_Clear();
  return list;
}

void close_handles(bool forced) noexcept {
  search s;
  look_for_closables(s);
  find(s);

  std::vector<PyObject*> spared;  // Raw files that stay open. Borrowed.
  if (!forced && layout_is_known()) {
    flush_free(s);
    for (PyObject* b : s.found_buffered) {
      PyObject* raw = reinterpret_cast<buffered_layout*>(b)->raw;
      if (raw && !is_held(b) && is_standard_stream(raw)) spared.push_back(raw);
    }
  }
  for (auto& [object, close] : s.found) {
    if (std::find(spared.begin(), spared.end(), object) != spared.end()) continue;
    PyObject* result = PyObject_CallOneArg(close, object);
    Py_XDECREF(result);
    PyErr_Clear();
  }
  let_go(s);
}

}  // namespace coppice::py
