// SPDX-License-Identifier: Apache-2.0
#include "pyext/main_script.hpp"

#include <algorithm>
#include <filesystem>

#include "coppice/message.hpp"

namespace coppice::py {

namespace {

ref module_named(const char* name) {
  ref module = ref::take(PyModule_New(name));
  if (!module) return {};
  PyObject* dict = PyModule_GetDict(module.get());
  if (PyDict_SetItemString(dict, "__builtins__", PyEval_GetBuiltins()) != 0) return {};
  return module;
}

// In PyInterpreterState_GetDict(): source, path and code, of compile_ahead().
constexpr const char* ahead_key = "coppice.main_ahead";

/// What was compiled ahead from this very source, or nothing. It is used once.
ref compiled_ahead(PyObject* source, PyObject* path) {
  PyObject* dict = PyInterpreterState_GetDict(PyInterpreterState_Get());
  const ref kept = ref::of(dict ? PyDict_GetItemString(dict, ahead_key) : nullptr);
  if (!kept) return {};
  const auto is = [&kept](Py_ssize_t at, PyObject* what) {
    return PyObject_RichCompareBool(PyTuple_GET_ITEM(kept.get(), at), what, Py_EQ) > 0;
  };
  const bool same = is(0, source) && is(1, path);
  if (PyErr_Occurred() || PyDict_DelItemString(dict, ahead_key) != 0) PyErr_Clear();
  return same ? ref::of(PyTuple_GET_ITEM(kept.get(), 2)) : ref();
}

ref source_of(const std::string& path) {
  const ref io = ref::take(PyImport_ImportModule("io"));
  if (!io) return {};
  const ref file = ref::take(PyObject_CallMethod(io.get(), "open_code", "s", path.c_str()));
  if (!file) return {};
  const ref source = ref::take(PyObject_CallMethod(file.get(), "read", nullptr));
  const ref closed = ref::take(PyObject_CallMethod(file.get(), "close", nullptr));
  return source && closed ? ref::of(source.get()) : ref();
}

ref compiled(const std::string& path) {
  const ref source = source_of(path);
  const ref name = to_str(path);
  if (!source || !name) return {};
  if (ref code = compiled_ahead(source.get(), name.get())) return code;
  // The builtin, not Py_CompileString: it reads the encoding cookie and accepts any bytes.
  PyObject* compile = PyDict_GetItemString(PyEval_GetBuiltins(), "compile");
  if (!compile) return PyErr_SetString(PyExc_RuntimeError, "lost builtins.compile"), ref();
  return ref::take(PyObject_CallFunction(compile, "OOsii", source.get(), name.get(), "exec", 0, 1));
}

// What the import system knows of a module that was run by `python -m name`.
struct found_main {
  ref code, file, package;
};
found_main find_main(const std::string& name) {
  const ref bootstrap = ref::take(PyImport_ImportModule("_frozen_importlib"));
  if (!bootstrap) return {};
  ref path = ref::of(Py_None);
  const std::size_t dot = name.rfind('.');
  const std::string parent = dot == std::string::npos ? "" : name.substr(0, dot);
  if (!parent.empty()) {
    const ref package = ref::take(PyImport_ImportModule(parent.c_str()));
    if (!package) return {};
    path = ref::take(PyObject_GetAttrString(package.get(), "__path__"));
    if (!path) return {};
  }
  const ref spec =
      ref::take(PyObject_CallMethod(bootstrap.get(), "_find_spec", "sO", name.c_str(), path.get()));
  if (!spec) return {};
  if (spec.get() == Py_None) {
    PyErr_Format(PyExc_ModuleNotFoundError, "the parent's main module '%s' is not found here",
                 name.c_str());
    return {};
  }
  const ref loader = ref::take(PyObject_GetAttrString(spec.get(), "loader"));
  if (!loader) return {};
  found_main found;
  found.code = ref::take(PyObject_CallMethod(loader.get(), "get_code", "s", name.c_str()));
  found.file = ref::take(PyObject_GetAttrString(spec.get(), "origin"));
  found.package = to_str(parent);
  if (found.code && found.code.get() == Py_None) {
    PyErr_Format(PyExc_ImportError, "the parent's main module '%s' has no code to run",
                 name.c_str());
    return {};
  }
  return found;
}

bool publish(const char* name, const ref& module) {
  return PyDict_SetItemString(PyImport_GetModuleDict(), name, module.get()) == 0;
}

// What has run as `__main__` so far may still be running: `_child.py` is.
bool keep_old_main() {
  PyObject* dict = PyInterpreterState_GetDict(PyInterpreterState_Get());
  const ref old = ref::of(PyDict_GetItemString(PyImport_GetModuleDict(), "__main__"));
  return !old || (dict && PyDict_SetItemString(dict, "coppice.old_main", old.get()) == 0);
}

ref execute(PyObject* module, PyObject* code) {
  PyObject* dict = PyModule_GetDict(module);
  return ref::take(PyEval_EvalCode(code, dict, dict));
}

ref sys_object(const char* name) {
  ref value = ref::of(PySys_GetObject(name));
  if (!value) PyErr_Format(PyExc_RuntimeError, "lost sys.%s", name);
  return value;
}

ref list_of(const std::vector<std::string>& texts) {
  ref list = ref::take(PyList_New(0));
  for (const auto& text : texts) {
    // As os.fsdecode() does: a path need not be UTF-8.
    const ref item = ref::take(
        PyUnicode_DecodeFSDefaultAndSize(text.data(), static_cast<Py_ssize_t>(text.size())));
    if (!list || !item || PyList_Append(list.get(), item.get()) != 0) return {};
  }
  return list;
}

}  // namespace

// --- the parent's data
// -------------------------------------------------------------------------------

parent_program parent_program::from(const payload& parent_main_data) {
  parent_program p;
  if (parent_main_data.is_nil()) return p;
  msgpack::reader r(parent_main_data);
  const std::size_t entries = r.map();
  msgpack::reader::inside here(r);
  for (std::size_t i = 0; i < entries; ++i) {
    const std::string_view key = r.str();
    here.key(key);
    if (key == "init_main_from_name") {
      p.main_name = r.str();
    } else if (key == "init_main_from_path") {
      p.main_path = r.str();
    } else if (key == "coppice_loop") {
      p.loop = r.str();
    } else if (key == "sys_path") {
      p.sys_path = codec<std::vector<std::string>>::decode(r);
    } else {
      r.skip();
    }
  }
  return p;
}

payload parent_program::to_payload() const {
  msgpack::buffer out;
  msgpack::writer w(out);
  w.map(!main_name.empty() + !main_path.empty() + !sys_path.empty() + !loop.empty());
  const auto put_text = [&w](const char* key, const std::string& text) {
    if (!text.empty()) w.str(key), w.str(text);
  };
  put_text("init_main_from_name", main_name);
  put_text("init_main_from_path", main_path);
  put_text("coppice_loop", loop);
  if (!sys_path.empty()) w.str("sys_path"), codec<std::vector<std::string>>::encode(w, sys_path);
  return payload::take(std::move(out));
}

// --- sys.path
// ------------------------------------------------------------------------------------------

bool set_sys_path(const std::vector<std::string>& folders) {
  const ref list = list_of(folders);
  if (!list) return false;
  // Its content, not the object: whoever holds `from sys import path` sees it too.
  const ref path = sys_object("path");
  if (!path) return false;
  if (PyList_Check(path.get()))
    return PyList_SetSlice(path.get(), 0, PyList_GET_SIZE(path.get()), list.get()) == 0;
  return PySys_SetObject("path", list.get()) == 0;
}

bool append_to_sys_path(const std::string& folder) {
  const ref path = sys_object("path");
  const ref items = list_of({folder});
  if (!path || !items) return false;
  PyObject* item = PyList_GET_ITEM(items.get(), 0);
  const int there = PySequence_Contains(path.get(), item);
  if (there != 0) return there > 0;
  return PyList_Check(path.get()) && PyList_Append(path.get(), item) == 0;
}

std::string import_folder(const std::string& module, const std::string& file) {
  std::filesystem::path at(file);
  if (at.stem() == "__init__") at = at.parent_path();
  std::string rest = module;
  for (;;) {
    const std::size_t dot = rest.rfind('.');
    if (at.stem() != (dot == std::string::npos ? rest : rest.substr(dot + 1))) return "";
    at = at.parent_path();
    if (dot == std::string::npos) return at.string();
    rest.resize(dot);
  }
}

// --- the main script
// -------------------------------------------------------------------------------------

void compile_ahead(const std::string& path) {
  const ref source = source_of(path);
  const ref code = source ? compiled(path) : ref();
  const ref name = to_str(path);
  const ref kept =
      code && name ? ref::take(PyTuple_Pack(3, source.get(), name.get(), code.get())) : ref();
  PyObject* dict = PyInterpreterState_GetDict(PyInterpreterState_Get());
  if (!kept || !dict || PyDict_SetItemString(dict, ahead_key, kept.get()) != 0) PyErr_Clear();
}

bool replay_main(const parent_program& program) {
  const bool by_name = !program.main_name.empty();
  // A package's __main__.py and its like run unconditionally: nobody means their content to be
  // there.
  if (by_name && (program.main_name == "__main__" || program.main_name.ends_with(".__main__")))
    return true;
  if (!by_name && program.main_path.empty()) return true;
  const ref module = module_named("__mp_main__");
  if (!module) return false;
  found_main found;
  if (by_name) {
    found = find_main(program.main_name);
  } else {
    found.code = compiled(program.main_path);
    found.file = to_str(program.main_path);
    found.package = to_str("");
  }
  PyObject* dict = PyModule_GetDict(module.get());
  if (!found.code || !set_item(dict, "__file__", found.file) ||
      !set_item(dict, "__package__", found.package))
    return false;
  if (!keep_old_main() || !publish("__mp_main__", module) || !publish("__main__", module))
    return false;
  return static_cast<bool>(execute(module.get(), found.code.get()));
}

ref run_main_script(const std::string& path, const std::vector<std::string>& argv) {
  std::vector<std::string> all = {path};
  all.insert(all.end(), argv.begin(), argv.end());
  const ref arguments = list_of(all);
  const ref folders = list_of({std::filesystem::absolute(path).parent_path().string()});
  const ref sys_path = sys_object("path");
  if (!arguments || !folders || !sys_path) return {};
  if (PySys_SetObject("argv", arguments.get()) != 0) return {};
  if (!PyList_Check(sys_path.get()) ||
      PyList_Insert(sys_path.get(), 0, PyList_GET_ITEM(folders.get(), 0)) != 0)
    return {};
  const ref module = module_named("__main__");
  const ref code = module ? compiled(path) : ref();
  if (!code) return {};
  PyObject* dict = PyModule_GetDict(module.get());
  if (!set_item(dict, "__file__", to_str(path)) || !publish("__main__", module)) return {};
  return execute(module.get(), code.get());
}

}  // namespace coppice::py
