// SPDX-License-Identifier: Apache-2.0
#include "pyhost/buffer_object.hpp"

#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

namespace coppice::py {

namespace {

constexpr const char* type_key = "coppice.Buffer";  // In PyInterpreterState_GetDict().

struct buffer_object {
  PyObject_HEAD owned_bytes block;
  Py_hash_t hash;  // -1: not known yet.
};

owned_bytes& block_in(PyObject* self) { return reinterpret_cast<buffer_object*>(self)->block; }
const char* data_of(const owned_bytes& block) {
  return reinterpret_cast<const char*>(block.bytes.data());
}
Py_ssize_t size_of(const owned_bytes& block) { return static_cast<Py_ssize_t>(block.bytes.size()); }

// Empty. Whatever is held on the stack when a collection inside here is forced to stop would leak.
PyObject* make_empty(PyTypeObject* type) {
  PyObject* self = type->tp_alloc(type, 0);
  if (!self) return nullptr;
  new (&block_in(self)) owned_bytes();
  reinterpret_cast<buffer_object*>(self)->hash = -1;
  return self;
}

void dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  block_in(self).~owned_bytes();
  type->tp_free(self);
  Py_DECREF(type);
}

// Tracked for take_owners(): it takes part in no cycle but its type's.
int traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  return 0;
}

bool copy_into(owned_bytes& block, Py_buffer& from) {
  if (from.len == 0) return true;
  const auto size = static_cast<std::size_t>(from.len);
  std::byte* to = nullptr;
  try {
    auto room = std::make_shared_for_overwrite<std::byte[]>(size);
    to = room.get();
    block.owner = std::move(room);
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
    return false;
  }
  block.bytes = {to, size};
  return PyBuffer_ToContiguous(to, &from, from.len, 'C') == 0;
}

PyObject* create(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  static const char* const names[] = {"", nullptr};
  PyObject* source = nullptr;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O:Buffer", const_cast<char**>(names), &source))
    return nullptr;
  if (block_of(source)) return Py_NewRef(source);
  PyObject* self = make_empty(type);
  Py_buffer from;
  if (!self || PyObject_GetBuffer(source, &from, PyBUF_FULL_RO) != 0) {
    Py_XDECREF(self);
    return nullptr;
  }
  if (!copy_into(block_in(self), from)) Py_CLEAR(self);
  PyBuffer_Release(&from);
  return self;
}

int get_buffer(PyObject* self, Py_buffer* view, int flags) {
  const owned_bytes& block = block_in(self);
  // Nobody writes: the view says that it is read-only.
  return PyBuffer_FillInfo(view, self, const_cast<std::byte*>(block.bytes.data()), size_of(block),
                           1, flags);
}

Py_ssize_t length(PyObject* self) { return size_of(block_in(self)); }

Py_hash_t hash(PyObject* self) {
  auto* b = reinterpret_cast<buffer_object*>(self);
  if (b->hash == -1) b->hash = Py_HashBuffer(data_of(b->block), size_of(b->block));
  return b->hash;
}

// The others that have bytes compare themselves with ours: memoryview knows of formats.
PyObject* compare(PyObject* self, PyObject* other, int op) {
  if (op != Py_EQ && op != Py_NE) Py_RETURN_NOTIMPLEMENTED;
  const owned_bytes& block = block_in(self);
  const char* data = nullptr;
  Py_ssize_t size = 0;
  if (const owned_bytes* theirs = block_of(other)) {
    data = data_of(*theirs), size = size_of(*theirs);
  } else if (PyBytes_Check(other)) {
    data = PyBytes_AS_STRING(other), size = PyBytes_GET_SIZE(other);
  } else if (PyByteArray_Check(other)) {
    data = PyByteArray_AS_STRING(other), size = PyByteArray_GET_SIZE(other);
  } else {
    Py_RETURN_NOTIMPLEMENTED;
  }
  const bool same = size == size_of(block) &&
                    (size == 0 || std::memcmp(data, data_of(block), block.bytes.size()) == 0);
  return PyBool_FromLong(same == (op == Py_EQ));
}

// With where the bytes are: two that share them say the same.
PyObject* repr(PyObject* self) {
  const owned_bytes& block = block_in(self);
  return PyUnicode_FromFormat("<coppice.Buffer of %zd bytes at %p>", size_of(block),
                              static_cast<const void*>(block.bytes.data()));
}

constexpr char buffer_doc[] =
    "Buffer(bytes_like, /)\n--\n\n"
    "Immutable bytes that actors of one process share: copied when they are made, and not on their "
    "way.\n\n"
    "Use memoryview(b), len(b), bytes(b), ==, hash(b). A Buffer of a Buffer is itself.";

PyType_Slot slots[] = {{Py_tp_doc, const_cast<char*>(buffer_doc)},
                       {Py_tp_new, reinterpret_cast<void*>(create)},
                       {Py_tp_dealloc, reinterpret_cast<void*>(dealloc)},
                       {Py_tp_traverse, reinterpret_cast<void*>(traverse)},
                       {Py_tp_repr, reinterpret_cast<void*>(repr)},
                       {Py_tp_hash, reinterpret_cast<void*>(hash)},
                       {Py_tp_richcompare, reinterpret_cast<void*>(compare)},
                       {Py_sq_length, reinterpret_cast<void*>(length)},
                       {Py_bf_getbuffer, reinterpret_cast<void*>(get_buffer)},
                       {0, nullptr}};

PyType_Spec buffer_spec = {"coppice.Buffer", sizeof(buffer_object), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
                           slots};

using owners = std::vector<std::shared_ptr<const void>>;

int take_owner(PyObject* object, void* to) {
  if (block_of(object)) static_cast<owners*>(to)->push_back(std::move(block_in(object).owner));
  return 1;
}

}  // namespace

PyTypeObject* buffer_type() noexcept {
  PyObject* dict = PyInterpreterState_GetDict(PyInterpreterState_Get());
  if (!dict) return reinterpret_cast<PyTypeObject*>(PyErr_NoMemory());
  PyObject* type = PyDict_GetItemString(dict, type_key);  // Borrowed, here and below.
  if (type) return reinterpret_cast<PyTypeObject*>(type);
  type = PyType_FromSpec(&buffer_spec);
  const bool kept = type && PyDict_SetItemString(dict, type_key, type) == 0;
  Py_XDECREF(type);
  return kept ? reinterpret_cast<PyTypeObject*>(type) : nullptr;
}

PyObject* make_buffer(const owned_bytes& block) noexcept {
  PyTypeObject* type = buffer_type();
  PyObject* self = type ? make_empty(type) : nullptr;
  if (self) block_in(self) = block;
  return self;
}

const owned_bytes* block_of(PyObject* object) noexcept {
  return Py_TYPE(object)->tp_dealloc == dealloc ? &block_in(object) : nullptr;
}

owners take_owners() {
  owners found;
  PyUnstable_GC_VisitObjects(take_owner, &found);
  return found;
}

}  // namespace coppice::py
