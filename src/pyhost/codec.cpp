// SPDX-License-Identifier: Apache-2.0
#include "pyhost/codec.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <exception>
#include <new>
#include <string>

#include "coppice/detail/msgpack.hpp"
#include "coppice/errors.hpp"
#include "pyhost/attribute.hpp"
#include "pyhost/buffer_object.hpp"
#include "pyhost/plain_form.hpp"

namespace coppice::py {

namespace {

using msgpack::reader;

constexpr int depth_max = reader::depth_max_default;
constexpr std::int8_t timestamp_ext = -1;  // The one extension type that msgpack defines.

// --- encoding ------------------------------------------------------------------------------------

// Where the encoder is: one per container, on the stack. Costs two stores per element.
struct place {
  const place* up;
  PyObject* key = nullptr;  // Of a dict; null: `index`. Borrowed.
  Py_ssize_t index = 0;
};

void print(const place& p, std::string& to) {
  if (!p.key) {
    to += "[" + std::to_string(p.index) + "]";
    return;
  }
  owned repr(PyUnicode_CheckExact(p.key) || PyLong_CheckExact(p.key) ? PyObject_Repr(p.key)
                                                                     : nullptr);
  const char* text = repr ? PyUnicode_AsUTF8(repr.get()) : nullptr;
  if (!text) PyErr_Clear();
  to += "[" + std::string(text ? text : "…") + "]";
}

class encoder {
 public:
  encoder(msgpack::buffer& out, std::string_view what) : writer_(out), what_(what) {}

  bool value(PyObject* o, const place* up) {
    PyTypeObject* type = Py_TYPE(o);
    if (type == &PyUnicode_Type) return text(o, up);
    if (type == &PyLong_Type) return integer(o, up);
    if (type == &PyDict_Type) return dict(o, up);
    if (type == &PyList_Type) return list(o, up);
    if (o == Py_None) return writer_.nil(), true;
    if (type == &PyBool_Type) return writer_.boolean(o == Py_True), true;
    if (type == &PyFloat_Type) return writer_.number(PyFloat_AS_DOUBLE(o)), true;
    if (type == &PyTuple_Type) return tuple(o, up);
    if (type == &PyBytes_Type) return bytes(PyBytes_AS_STRING(o), PyBytes_GET_SIZE(o));
    if (type == &PyByteArray_Type) return bytes(PyByteArray_AS_STRING(o), PyByteArray_GET_SIZE(o));
    return uncommon(o, up);
  }

 private:
  bool uncommon(PyObject* o, const place* up) {
    if (const owned_bytes* block = block_of(o)) return writer_.bin(*block), true;
    if (PyMemoryView_Check(o)) return view(o);
    // Before the containers: a member of `class e(list, enum.Enum)` is a member first.
    if (const int is = is_enum_member(o); is != 0) {
      owned member(is > 0 ? attribute(o, "_value_") : nullptr);
      if (!member) return false;
      // A member whose value is itself would recurse for ever.
      if (++depth_ > depth_max) return too_deep(up);
      const bool ok = value(member.get(), up);
      --depth_;
      return ok;
    }
    if (PyDict_Check(o)) return dict(o, up);
    if (PyList_Check(o)) return list(o, up);
    if (PyTuple_Check(o)) return tuple(o, up);
    const plain_form plain = plain_form::of(o);
    const owned object(plain.object);
    switch (plain.is) {
      case plain_form::kind::none:
        return refuse(o, up);
      case plain_form::kind::failed:
        return false;
      case plain_form::kind::time:
        return time(plain.time), true;
      case plain_form::kind::object:
        return value(object.get(), up);
    }
    return false;
  }

  // msgpack's timestamp, in the fewest bytes that hold it.
  void time(timestamp t) {
    const auto seconds = static_cast<std::uint64_t>(t.seconds);
    if (seconds >> 34 != 0) {
      std::byte* to = writer_.ext_room(timestamp_ext, 12);
      big_endian(to, t.nanoseconds, 4);
      big_endian(to + 4, seconds, 8);
    } else if (t.nanoseconds != 0 || seconds >> 32 != 0) {
      big_endian(writer_.ext_room(timestamp_ext, 8), std::uint64_t{t.nanoseconds} << 34 | seconds,
                 8);
    } else {
      big_endian(writer_.ext_room(timestamp_ext, 4), seconds, 4);
    }
  }
  static void big_endian(std::byte* to, std::uint64_t v, int size) {
    for (int i = size; i-- > 0; v >>= 8) to[i] = static_cast<std::byte>(v);
  }

  // enum.EnumType is Python code: it exists in this interpreter only once `enum` was imported.
  static int is_enum_member(PyObject* o) {
    PyObject* meta = reinterpret_cast<PyObject*>(Py_TYPE(Py_TYPE(o)));
    if (meta == reinterpret_cast<PyObject*>(&PyType_Type)) return 0;
    PyObject* module = PyDict_GetItemString(PyImport_GetModuleDict(), "enum");  // Borrowed.
    if (!module) return 0;
    owned enum_type(attribute(module, "EnumType"));
    if (!enum_type || !PyType_Check(enum_type.get())) return PyErr_Clear(), 0;
    return PyType_IsSubtype(reinterpret_cast<PyTypeObject*>(meta),
                            reinterpret_cast<PyTypeObject*>(enum_type.get()));
  }

  bool text(PyObject* o, const place* up) {
    Py_ssize_t size = 0;
    const char* utf8 = PyUnicode_AsUTF8AndSize(o, &size);
    if (!utf8) {
      if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) return false;
      PyErr_Clear();
      PyErr_Format(PyExc_ValueError,
                   "cannot send the str at %s: it holds a lone surrogate, which UTF-8 cannot "
                   "carry; send text.encode('utf-8', 'surrogateescape') instead",
                   where(up).c_str());
      return false;
    }
    writer_.str({utf8, static_cast<std::size_t>(size)});
    return true;
  }

  bool integer(PyObject* o, const place* up) {
    if (PyUnstable_Long_IsCompact(reinterpret_cast<PyLongObject*>(o))) {
      writer_.integer(
          std::int64_t{PyUnstable_Long_CompactValue(reinterpret_cast<PyLongObject*>(o))});
      return true;
    }
    int overflow = 0;
    const long long v = PyLong_AsLongLongAndOverflow(o, &overflow);
    if (overflow == 0) return writer_.integer(v), true;
    if (overflow > 0) {
      const unsigned long long u = PyLong_AsUnsignedLongLong(o);
      if (u != static_cast<unsigned long long>(-1) || !PyErr_Occurred())
        return writer_.integer(u), true;
      PyErr_Clear();
    }
    PyErr_Format(PyExc_OverflowError,
                 "cannot send the int at %s: only -2**63 to 2**64-1 can travel; send it as a str "
                 "or as bytes",
                 where(up).c_str());
    return false;
  }

  bool bytes(const void* data, Py_ssize_t size) {
    writer_.bin({static_cast<const std::byte*>(data), static_cast<std::size_t>(size)});
    return true;
  }

  bool view(PyObject* o) {
    struct held_buffer : Py_buffer {
      ~held_buffer() { PyBuffer_Release(this); }
    } held{};
    // Not PyMemoryView_GET_BUFFER: a view that was released has to say so.
    if (PyObject_GetBuffer(o, &held, PyBUF_FULL_RO) != 0) return false;
    if (PyBuffer_IsContiguous(&held, 'C')) {
      PyObject* exporter = PyMemoryView_GET_BASE(o);
      const owned_bytes* block = exporter ? block_of(exporter) : nullptr;
      if (!block) return bytes(held.buf, held.len);
      return writer_.bin(
                 {block->owner,
                  {static_cast<const std::byte*>(held.buf), static_cast<std::size_t>(held.len)}}),
             true;
    }
    std::byte* room = writer_.bin_room(static_cast<std::size_t>(held.len));
    return PyBuffer_ToContiguous(room, &held, held.len, 'C') == 0;
  }

  bool enter(const place* up) { return ++depth_ <= depth_max || too_deep(up); }

  bool tuple(PyObject* o, const place* up) {
    if (!enter(up)) return false;
    place here{up};
    const Py_ssize_t size = PyTuple_GET_SIZE(o);
    writer_.array(static_cast<std::size_t>(size));
    for (; here.index < size; ++here.index)
      if (!value(PyTuple_GET_ITEM(o, here.index), &here)) return false;
    --depth_;
    return true;
  }

  bool list(PyObject* o, const place* up) {
    if (!enter(up)) return false;
    place here{up};
    const Py_ssize_t size = PyList_GET_SIZE(o);
    writer_.array(static_cast<std::size_t>(size));
    for (; here.index < size; ++here.index) {
      if (PyList_GET_SIZE(o) != size) return changed("list", up);
      // Held: an enum member's attributes are Python code, which may empty the list meanwhile.
      owned item(Py_NewRef(PyList_GET_ITEM(o, here.index)));
      if (!value(item.get(), &here)) return false;
    }
    --depth_;
    return true;
  }

  bool dict(PyObject* o, const place* up) {
    if (!enter(up)) return false;
    place here{up};
    const Py_ssize_t size = PyDict_GET_SIZE(o);
    writer_.map(static_cast<std::size_t>(size));
    PyObject *k = nullptr, *v = nullptr;
    Py_ssize_t position = 0, seen = 0;
    while (PyDict_Next(o, &position, &k, &v)) {
      owned key(Py_NewRef(k)), mapped(Py_NewRef(v));
      here.key = key.get();
      if (++seen > size) return changed("dict", up);
      if (!value(key.get(), &here) || !value(mapped.get(), &here)) return false;
    }
    if (seen != size) return changed("dict", up);
    --depth_;
    return true;
  }

  // --- failures: an exception is set, false is returned ---

  bool refuse(PyObject* o, const place* up) {
    owned name(PyType_GetFullyQualifiedName(Py_TYPE(o)));
    if (!name) return false;
    const char* advice = "";
    if (PyUnicode_Check(o)) advice = "; of a subclass of str, send str(value)";
    if (PyLong_Check(o)) advice = "; of a subclass of int, send int(value)";
    if (PyFloat_Check(o)) advice = "; of a subclass of float, send float(value)";
    if (PyBytes_Check(o) || PyByteArray_Check(o))
      advice = "; of a subclass of bytes, send bytes(value)";
    PyErr_Format(PyExc_TypeError,
                 "cannot send a '%U' at %s: None, bool, int, float, str, bytes, list, tuple, set, "
                 "dict, dataclasses, enums, dates and times can travel%s",
                 name.get(), where(up).c_str(), advice);
    return false;
  }

  bool too_deep(const place* up) {
    PyErr_Format(PyExc_RecursionError,
                 "cannot send %s: containers are nested deeper than %d; does one contain itself?",
                 where(up).c_str(), depth_max);
    return false;
  }

  bool changed(const char* kind, const place* up) {
    PyErr_Format(PyExc_RuntimeError, "the %s at %s changed its size while it was sent", kind,
                 where(up).c_str());
    return false;
  }

  // "kwargs['x'][3]", and only the beginning of what is very deep.
  std::string where(const place* innermost) const {
    constexpr std::size_t shown_max = 8;
    const place* outermost_first[depth_max + 1];
    std::size_t n = 0;
    for (const place* p = innermost; p && n <= depth_max; p = p->up) outermost_first[n++] = p;
    std::reverse(outermost_first, outermost_first + n);
    std::string text(what_);
    for (std::size_t i = 0; i < std::min(n, shown_max); ++i) print(*outermost_first[i], text);
    if (n > shown_max) text += "…";
    return text;
  }

  msgpack::writer writer_;
  const std::string_view what_;
  int depth_ = 0;
};

// --- decoding
// --------------------------------------------------------------------------------------

// What malformed bytes say of themselves is thrown by the reader; null means that a Python
// exception is set.
class decoder {
 public:
  explicit decoder(reader& r) : reader_(r) {}

  // In a dict's key an array becomes a tuple: a list has no hash.
  PyObject* value(bool in_key = false) {
    switch (reader_.peek()) {
      case msgpack::kind::nil:
        reader_.nil();
        return Py_NewRef(Py_None);
      case msgpack::kind::boolean:
        return PyBool_FromLong(reader_.boolean());
      case msgpack::kind::integer: {
        const auto t = reader_.next();
        return t.negative ? PyLong_FromLongLong(std::bit_cast<std::int64_t>(t.integer))
                          : PyLong_FromUnsignedLongLong(t.integer);
      }
      case msgpack::kind::number:
        return PyFloat_FromDouble(reader_.number());
      case msgpack::kind::str:
        return text(reader_.raw_str());
      case msgpack::kind::bin: {
        if (const owned_bytes* block = reader_.try_block()) return make_buffer(*block);
        const auto bytes = reader_.bin();
        return PyBytes_FromStringAndSize(reinterpret_cast<const char*>(bytes.data()),
                                         static_cast<Py_ssize_t>(bytes.size()));
      }
      case msgpack::kind::array:
        return array(in_key);
      case msgpack::kind::map:
        if (in_key) reader_.fail("a key that has a hash");
        return map();
      case msgpack::kind::ext:
        return time();
      default:
        reader_.fail("a value of a type that Python has");
    }
  }

 private:
  PyObject* time() {
    const std::size_t from = reader_.offset();
    const msgpack::token t = reader_.next();
    const auto number = [&](std::size_t at, std::size_t size) {
      std::uint64_t v = 0;
      for (const std::byte b : t.bytes.subspan(at, size))
        v = v << 8 | static_cast<std::uint64_t>(b);
      return v;
    };
    timestamp when;
    if (t.ext_type == timestamp_ext && t.bytes.size() == 4) {
      when.seconds = static_cast<std::int64_t>(number(0, 4));
    } else if (t.ext_type == timestamp_ext && t.bytes.size() == 8) {
      const std::uint64_t v = number(0, 8);
      when = {static_cast<std::int64_t>(v & ((std::uint64_t{1} << 34) - 1)),
              static_cast<std::uint32_t>(v >> 34)};
    } else if (t.ext_type == timestamp_ext && t.bytes.size() == 12) {
      when = {std::bit_cast<std::int64_t>(number(4, 8)), static_cast<std::uint32_t>(number(0, 4))};
    } else {
      reader_.rewind(from);
      reader_.fail("a value of a type that Python has");
    }
    PyObject* made = datetime_of(when);
    if (!made &&
        (PyErr_ExceptionMatches(PyExc_OverflowError) || PyErr_ExceptionMatches(PyExc_ValueError))) {
      PyErr_Clear();
      reader_.fail_with("a time beyond the years that Python knows");
    }
    return made;
  }

  PyObject* text(std::string_view utf8) {
    PyObject* s = PyUnicode_DecodeUTF8(utf8.data(), static_cast<Py_ssize_t>(utf8.size()), "strict");
    if (!s && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
      PyErr_Clear();
      reader_.fail_with("a str is not UTF-8");
    }
    return s;
  }

  PyObject* array(bool in_key) {
    const std::size_t count = reader_.array();
    reader::inside here(reader_);
    // A count is bounded by the bytes that are left, so nested ones could claim 512 times the
    // message, each entry eight-fold: what is reserved ahead stays small.
    const auto ahead = static_cast<Py_ssize_t>(std::min<std::size_t>(count, 1024));
    owned list(PyList_New(ahead));
    if (!list) return nullptr;
    for (std::size_t i = 0; i < count; ++i) {
      here.index(i);
      owned item(value(in_key));
      if (!item) return nullptr;
      const auto at = static_cast<Py_ssize_t>(i);
      if (at < ahead)
        PyList_SET_ITEM(list.get(), at, item.release());
      else if (PyList_Append(list.get(), item.get()) != 0)
        return nullptr;
    }
    return in_key ? PyList_AsTuple(list.get()) : list.release();
  }

  PyObject* map() {
    const std::size_t count = reader_.map();
    reader::inside here(reader_);
    owned dict(PyDict_New());
    if (!dict) return nullptr;
    for (std::size_t i = 0; i < count; ++i) {
      here.index(i);
      owned key = map_key(here);
      if (!key) return nullptr;
      owned mapped(value());
      if (!mapped || PyDict_SetItem(dict.get(), key.get(), mapped.get()) != 0) return nullptr;
    }
    return dict.release();
  }

  owned map_key(reader::inside& here) {
    if (reader_.peek() != msgpack::kind::str) return owned(value(true));
    const std::string_view name = reader_.raw_str();
    here.key(name);
    return owned(text(name));
  }

  reader& reader_;
};

}  // namespace

bool encode(PyObject* value, std::string_view what, msgpack::buffer& out) {
  const std::size_t before = out.size();
  try {
    if (encoder(out, what).value(value, nullptr)) return true;
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& e) {  // A block that msgpack cannot count.
    PyErr_SetString(PyExc_ValueError, e.what());
  }
  out.truncate(before);
  return false;
}

std::optional<payload> encode(PyObject* value, std::string_view what) {
  try {
    msgpack::buffer out;
    out.keep_blocks();
    if (encode(value, what, out)) return payload::take(std::move(out));
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  }
  return std::nullopt;
}

PyObject* decode(const payload& bytes, std::string_view what) {
  const auto fail = [&](PyObject* type, const std::exception& e) {
    PyErr_Format(type, "cannot read %.*s: %s", static_cast<int>(what.size()), what.data(),
                 e.what());
    return nullptr;
  };
  try {
    reader r(bytes);
    owned v(decoder(r).value());
    if (v) r.finish();
    return v.release();
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  } catch (const limit_exceeded& e) {
    return fail(PyExc_RecursionError, e);
  } catch (const std::exception& e) {
    return fail(PyExc_ValueError, e);
  }
}

}  // namespace coppice::py
