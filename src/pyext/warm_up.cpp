// SPDX-License-Identifier: Apache-2.0
#include "pyext/warm_up.hpp"

#include <fmt/format.h>

#include <utility>

#include "pyext/main_script.hpp"
#include "pyext/native_module.hpp"
#include "pyext/ref.hpp"

// Lists of sys.path are Python objects all the way: entries need not be text that we can decode.

namespace coppice::py {

namespace {

// In PyInterpreterState_GetDict(): the interpreter's own sys.path, and what preloaded modules put
// in front of it and behind it, three lists.
constexpr const char* paths_key = "coppice.warm_paths";

ref sys_path_list() {
  ref path = ref::of(PySys_GetObject("path"));
  if (path && PyList_Check(path.get())) return path;
  PyErr_SetString(PyExc_RuntimeError, "sys.path is no list any more");
  return {};
}

ref copy_of(const ref& list) {
  return ref::take(PyList_GetSlice(list.get(), 0, PyList_GET_SIZE(list.get())));
}

bool assign(const ref& list, const ref& content) {
  return PyList_SetSlice(list.get(), 0, PyList_GET_SIZE(list.get()), content.get()) == 0;
}

bool append_all(const ref& list, PyObject* more) {
  const Py_ssize_t end = PyList_GET_SIZE(list.get());
  return PyList_SetSlice(list.get(), end, end, more) == 0;
}

/// Entries of `now` that are not in `base`: those before its first entry, and the others.
bool split(const ref& now, const ref& base, const ref& front, const ref& back) {
  bool inside = PyList_GET_SIZE(base.get()) == 0;
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(now.get()); ++i) {
    PyObject* entry = PyList_GET_ITEM(now.get(), i);
    const int known = PySequence_Contains(base.get(), entry);
    if (known < 0) return false;
    inside = inside || known > 0;
    if (known == 0 && PyList_Append((inside ? back : front).get(), entry) != 0) return false;
  }
  return true;
}

bool import_all(const std::vector<std::string>& modules, std::atomic<std::size_t>& at) {
  for (const std::string& name : modules) {
    if (!ref::take(PyImport_ImportModule(name.c_str()))) return false;
    at.fetch_add(1);
  }
  return true;
}

/// What finders remember of folders is not the actor's: a module written a moment ago is found.
bool forget_folders() {
  PyObject* known = PySys_GetObject("path_importer_cache");
  if (known && PyDict_Check(known)) PyDict_Clear(known);
  return true;
}

bool warm_up_here(const std::vector<std::string>& modules, const std::vector<std::string>& sys_path,
                  const std::string& package_path, std::atomic<std::size_t>& at) {
  const ref path = sys_path_list();
  const ref own = path ? copy_of(path) : ref();
  if (!own || !publish_native_module()) return false;
  if (!sys_path.empty() && !set_sys_path(sys_path)) return false;
  if (!package_path.empty() && !append_to_sys_path(package_path)) return false;
  const ref base = copy_of(path);
  const ref front = ref::take(PyList_New(0)), back = ref::take(PyList_New(0));
  if (!base || !front || !back || !import_all(modules, at)) return false;
  const ref now = sys_path_list();
  PyObject* dict = PyInterpreterState_GetDict(PyInterpreterState_Get());
  const ref paths = ref::take(PyTuple_Pack(3, own.get(), front.get(), back.get()));
  return now && dict && paths && split(now, base, front, back) &&
         PyDict_SetItemString(dict, paths_key, paths.get()) == 0 &&
         set_actors_sys_path({}, package_path) && forget_folders();
}

PyObject* warm_paths() {
  PyObject* dict = PyInterpreterState_GetDict(PyInterpreterState_Get());
  return dict ? PyDict_GetItemString(dict, paths_key) : nullptr;
}

}  // namespace

std::vector<std::string> modules_to_preload(const spawn::stock_order& order) {
  std::vector<std::string> all = order.pool.preload;
  if (!order.pool.loop.empty()) {
    all.emplace_back("coppice._loop");
    all.push_back("coppice._" + order.pool.loop);
  }
  return all;
}

std::string warm_up(const spawn::stock_order& order, const std::vector<std::string>& modules,
                    const std::string& package_path, std::atomic<std::size_t>& at) {
  if (warm_up_here(modules, order.sys_path, package_path, at)) {
    if (!order.main_script.empty()) compile_ahead(order.main_script);
    PyGC_Collect();  // The garbage of the imports is not the actor's.
    return "";
  }
  const ref error = take_error();
  return fmt::format("{}: {}", type_name(error.get()), text_of(error.get(), 1000));
}

spawn::warm_entry make_warm_entry(std::string package_path) {
  return [package = std::move(package_path)](const spawn::stock_order& order) {
    spawn::warm_start start;
    start.modules = modules_to_preload(order);
    start.warm = [order, modules = start.modules, package](std::atomic<std::size_t>& at) {
      return warm_up(order, modules, package, at);
    };
    return start;
  };
}

bool catch_up() {
  if (!warm_paths()) return true;
  PyObject* os = PyDict_GetItemString(PyImport_GetModuleDict(), "os");
  if (!os) return true;
  const ref done = ref::take(PyObject_CallMethod(os, "reload_environ", nullptr));
  return static_cast<bool>(done);
}

bool set_actors_sys_path(const std::vector<std::string>& of_parent,
                         const std::string& package_path) {
  const ref paths = ref::of(warm_paths());
  if (!paths) {
    return (of_parent.empty() || set_sys_path(of_parent)) &&
           (package_path.empty() || append_to_sys_path(package_path));
  }
  const ref path = sys_path_list();
  const ref own = ref::of(PyTuple_GET_ITEM(paths.get(), 0));
  if (!path || !(of_parent.empty() ? assign(path, own) : set_sys_path(of_parent))) return false;
  if (!package_path.empty() && !append_to_sys_path(package_path)) return false;
  PyObject* front = PyTuple_GET_ITEM(paths.get(), 1);
  return PyList_SetSlice(path.get(), 0, 0, front) == 0 &&
         append_all(path, PyTuple_GET_ITEM(paths.get(), 2));
}

}  // namespace coppice::py
