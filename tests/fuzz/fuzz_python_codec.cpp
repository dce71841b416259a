// SPDX-License-Identifier: Apache-2.0
// Any bytes to a Python object and back, and Python objects of any shape to bytes: values survive,
// failures are Python exceptions, and an interpreter that has done it all before grows by nothing.
#include <sanitizer/allocator_interface.h>

#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "fuzz.hpp"
#include "pyhost/codec.hpp"
#include "pyhost/python.hpp"

namespace coppice::py {
namespace {

constexpr int depth_max = 40;     // Of built objects.
constexpr int objects_max = 200;  // In one of them.

/// A Python object of any shape, from a description in the input.
class builder {
 public:
  explicit builder(fuzz::input& in) : in_(in) {}
  PyObject* object(int depth = 0) {
    if (++made_ > objects_max || depth > depth_max) return Py_NewRef(Py_None);
    switch (in_.below(16)) {
      case 0:
        return Py_NewRef(Py_None);
      case 1:
        return PyBool_FromLong(in_.below(2));
      case 2:
        return PyLong_FromLong(static_cast<signed char>(in_.byte()));
      case 3:
        return integer();
      case 4:
        return PyFloat_FromDouble(static_cast<double>(in_.two_bytes()) / 7);
      case 5:
        return text();
      case 6:
        return bytes();
      case 7:
        return view();
      case 8:
        return PyByteArray_FromStringAndSize("oak", static_cast<Py_ssize_t>(in_.below(4)));
      case 9:
        return PySet_New(nullptr);
      case 10:
        return Py_NewRef(reinterpret_cast<PyObject*>(&PyLong_Type));
      case 11:
        return list(depth, true);
      case 12:
        return tuple(depth);
      case 13:
        return list(depth, false);
      default:
        return dict(depth);
    }
  }

 private:
  PyObject* integer() {  // Of up to 11 bytes, of either sign.
    const auto b = in_.bytes(in_.below(12));
    return PyLong_FromNativeBytes(b.data(), b.size(), Py_ASNATIVEBYTES_LITTLE_ENDIAN);
  }
  PyObject* text() {
    const std::string t = in_.text(in_.below(40));
    const char* how = in_.below(2) != 0 ? "surrogateescape" : "replace";
    return PyUnicode_DecodeUTF8(t.data(), static_cast<Py_ssize_t>(t.size()), how);
  }
  PyObject* bytes() {
    const std::string b = in_.text(in_.byte());
    return PyBytes_FromStringAndSize(b.data(), static_cast<Py_ssize_t>(b.size()));
  }
  PyObject* view() {  // Whole, with a step, or released.
    PyObject* b = bytes();
    PyObject* whole = PyMemoryView_FromObject(b);
    Py_DECREF(b);
    const std::size_t how = in_.below(3);
    if (how == 0) return whole;
    PyObject* other = nullptr;
    if (how == 1) {
      PyObject* step = PyLong_FromLong(1 + static_cast<long>(in_.below(4)));
      PyObject* slice = PySlice_New(nullptr, nullptr, step);
      Py_DECREF(step);
      other = PyObject_GetItem(whole, slice);
      Py_DECREF(slice);
    } else {
      Py_XDECREF(PyObject_CallMethod(whole, "release", nullptr));
      return whole;
    }
    Py_DECREF(whole);
    return other;
  }
  PyObject* list(int depth, bool within_itself) {
    PyObject* l = PyList_New(0);
    for (std::size_t n = in_.below(8); n > 0; --n) {
      PyObject* item = object(depth + 1);
      PyList_Append(l, item);
      Py_DECREF(item);
    }
    // Broken up again by unloop(): only the garbage collector would free it.
    if (within_itself && in_.below(8) == 7) PyList_Append(l, l), loops_.push_back(Py_NewRef(l));
    return l;
  }
  PyObject* tuple(int depth) {
    const auto n = static_cast<Py_ssize_t>(in_.below(5));
    PyObject* t = PyTuple_New(n);
    for (Py_ssize_t i = 0; i < n; ++i) PyTuple_SET_ITEM(t, i, object(depth + 1));
    return t;
  }
  PyObject* dict(int depth) {
    PyObject* d = PyDict_New();
    for (std::size_t n = in_.below(6); n > 0; --n) {
      PyObject* key = object(depth + 1);
      PyObject* mapped = object(depth + 1);
      if (PyDict_SetItem(d, key, mapped) != 0) PyErr_Clear();  // No hash.
      Py_DECREF(key);
      Py_DECREF(mapped);
    }
    return d;
  }

 public:
  void unloop() {
    for (PyObject* l : loops_) PyList_SetSlice(l, 0, PyList_GET_SIZE(l), nullptr), Py_DECREF(l);
  }

 private:
  fuzz::input& in_;
  int made_ = 0;
  std::vector<PyObject*> loops_;
};

void expect_error() {
  PyObject* e = PyErr_GetRaisedException();
  COPPICE_ASSERT(e != nullptr, "a failure is a Python exception");
  COPPICE_ASSERT(PyErr_GivenExceptionMatches(e, PyExc_ValueError) ||
                     PyErr_GivenExceptionMatches(e, PyExc_TypeError) ||
                     PyErr_GivenExceptionMatches(e, PyExc_OverflowError) ||
                     PyErr_GivenExceptionMatches(e, PyExc_RecursionError),
                 "of the kinds that the header names");
  Py_DECREF(e);
}

std::optional<payload> sent(PyObject* o) {
  auto p = encode(o, "result");
  COPPICE_ASSERT(p.has_value() == (PyErr_Occurred() == nullptr), "a value or an exception");
  if (!p) expect_error();
  return p;
}

PyObject* received(const payload& p) {
  PyObject* o = decode(p, "result");
  COPPICE_ASSERT((o != nullptr) == (PyErr_Occurred() == nullptr), "a value or an exception");
  if (!o) expect_error();
  return o;
}

void there_and_back(const payload& p) {
  PyObject* first = received(p);
  if (!first) return;
  // A map may have held a key twice: the object has it once, and from then on nothing changes.
  const auto once = sent(first);
  Py_DECREF(first);
  COPPICE_ASSERT(once.has_value(), "what arrived can be sent");
  PyObject* second = received(*once);
  COPPICE_ASSERT(second != nullptr, "what was sent arrives");
  const auto twice = sent(second);
  Py_DECREF(second);
  COPPICE_ASSERT(twice == once, "as it was");
}

void built(fuzz::input in) {
  builder make(in);
  PyObject* o = make.object();
  COPPICE_ASSERT(o && !PyErr_Occurred(), "the builder builds");
  msgpack::buffer out;
  *out.extend(1) = std::byte{0xc0};
  if (encode(o, "kwargs", out)) {
    const auto all = out.bytes();
    there_and_back(fuzz::payload_of(all.subspan(1)));
  } else {
    expect_error();
    COPPICE_ASSERT(out.size() == 1, "a failure leaves the buffer as it was");
  }
  make.unloop();
  Py_DECREF(o);
}

void one(fuzz::input in) {
  if (in.below(2) != 0)
    built(in);
  else
    there_and_back(fuzz::payload_of(in.rest()));
}

std::size_t growth(const fuzz::input& in) {
  const std::size_t before = __sanitizer_get_current_allocated_bytes();
  one(in);
  return __sanitizer_get_current_allocated_bytes() - before;
}

void start_python() {
  PyPreConfig pre;
  PyPreConfig_InitIsolatedConfig(&pre);
  pre.allocator = PYMEM_ALLOCATOR_MALLOC;  // So that the address sanitizer sees Python's objects.
  pre.utf8_mode = 1;
  Py_PreInitialize(&pre);
  PyConfig config;
  PyConfig_InitIsolatedConfig(&config);
  PyConfig_SetBytesString(&config, &config.executable, COPPICE_TEST_PYTHON);
  config.site_import = 0;
  const PyStatus status = Py_InitializeFromConfig(&config);
  PyConfig_Clear(&config);
  COPPICE_ASSERT(!PyStatus_Exception(status), "CPython comes up");
}

}  // namespace
}  // namespace coppice::py

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  coppice::py::start_python();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace coppice;
  const fuzz::input in(data, size);
  // CPython keeps up to 2,000 freed objects of a kind (tuples of one length; most others 100), and
  // some ways to make one take none of those.
  constexpr int tries = 2'500;
  py::one(in);
  std::size_t grown = 0;
  for (int i = 0; i < tries; ++i) {
    grown = py::growth(in);
    if (grown == 0) return 0;
  }
  std::fprintf(stderr, "each time %zu bytes more\n", grown);
  COPPICE_ASSERT(grown == 0, "what the codec makes, somebody frees");
  return 0;
}
