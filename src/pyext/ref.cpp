// SPDX-License-Identifier: Apache-2.0
#include "pyext/ref.hpp"

namespace coppice::py {

ref to_str(std::string_view utf8) {
  return ref::take(
      PyUnicode_DecodeUTF8(utf8.data(), static_cast<Py_ssize_t>(utf8.size()), "replace"));
}

std::string to_utf8(PyObject* str) {
  if (!str || !PyUnicode_Check(str)) return "?";
  Py_ssize_t size = 0;
  if (const char* text = PyUnicode_AsUTF8AndSize(str, &size))
    return {text, static_cast<std::size_t>(size)};
  PyErr_Clear();
  const ref bytes = ref::take(PyUnicode_AsEncodedString(str, "utf-8", "backslashreplace"));
  if (!bytes) return PyErr_Clear(), "?";
  return {PyBytes_AS_STRING(bytes.get()), static_cast<std::size_t>(PyBytes_GET_SIZE(bytes.get()))};
}

std::string text_of(PyObject* object, std::size_t bytes_max) {
  const ref text = ref::take(PyObject_Str(object));
  if (!text) return PyErr_Clear(), "<unprintable " + type_name(object) + ">";
  std::string s = to_utf8(text.get());
  if (s.size() <= bytes_max) return s;
  std::size_t cut = bytes_max;
  while (cut > 0 && (static_cast<unsigned char>(s[cut]) & 0xc0) == 0x80)
    --cut;  // Whole characters.
  s.resize(cut);
  return s + "… (cut)";
}

std::string type_name(PyObject* object) {
  const ref name = ref::take(PyType_GetName(Py_TYPE(object)));
  if (!name) PyErr_Clear();
  return to_utf8(name.get());
}

}  // namespace coppice::py
