// SPDX-License-Identifier: Apache-2.0
#include "pyext/program.hpp"

#include <string>
#include <utility>

#include "actor/backends.hpp"
#include "actor/python_side.hpp"
#include "coppice/errors.hpp"
#include "pyext/ref.hpp"

namespace coppice::py {

namespace {

std::string executable_of_this_python() {
  const ref text = ref::of(PySys_GetObject("executable"));
  return text && PyUnicode_Check(text.get()) ? to_utf8(text.get()) : std::string();
}

// Where the package was imported from, which is where children have to find it.
std::string package_of_this_python() {
  const ref package = ref::of(PyDict_GetItemString(PyImport_GetModuleDict(), "coppice"));
  const ref file = package ? ref::take(PyObject_GetAttrString(package.get(), "__file__")) : ref();
  PyErr_Clear();
  if (!file || !PyUnicode_Check(file.get())) return tree::python_package_path();
  const std::string path = to_utf8(file.get());  // …/coppice/__init__.py
  const auto folder = path.rfind('/');
  const auto parent = folder == std::string::npos ? folder : path.rfind('/', folder - 1);
  return parent == std::string::npos ? tree::python_package_path() : path.substr(0, parent);
}

}  // namespace

program open_program(tree::process_options options, std::shared_ptr<base::unique_fd> zygote) {
  program p;
  std::string refusal;
  try {
    p.python = embedding::attach();
  } catch (const backend_unavailable& e) {
    refusal = e.what();
  }
  p.host = std::make_shared<python_host>(p.python.get(), std::move(refusal),
                                         executable_of_this_python(), package_of_this_python());
  options.make_backends = [host = p.host, zygote](tree::process_runtime& rt) {
    tree::backend_choices choices;
    choices.python_child = [host] { return host->child_program(); };
    choices.zygote = {.program =
                          [host, preload = rt.options().forkserver_preload] {
                            return host->zygote_program(preload);
                          },
                      .connection = zygote};
    choices.make_subint = [host](tree::process_runtime& of) { return host->make_subint(of); };
    return tree::standard_backends(rt, std::move(choices));
  };
  p.runtime = std::make_unique<tree::process_runtime>(std::move(options));
  return p;
}

bool stop_without_gil(tree::process_runtime& rt) {
  PyThreadState* mine = PyEval_SaveThread();  // Guests may need this GIL to end.
  const bool clean = rt.stop();
  PyEval_RestoreThread(mine);
  return clean;
}

void with_runtime(const std::function<void(tree::process_runtime&)>& f) {
  if (auto* rt = tree::process_runtime::current()) {
    if (const auto failure = without_gil([&] { f(*rt); })) std::rethrow_exception(failure);
    return;
  }
  if (PyInterpreterState_Get() != PyInterpreterState_Main())
    throw error("no runtime is open in this process: ask in the main interpreter");
  program p = open_program({});
  const auto failure = without_gil([&] { f(*p.runtime); });
  stop_without_gil(*p.runtime);
  if (failure) std::rethrow_exception(failure);
}

}  // namespace coppice::py
