// SPDX-License-Identifier: Apache-2.0
// The entry point by which libcoppice reaches the Python side.
#include <memory>
#include <utility>

#include "actor/python_side.hpp"
#include "coppice/errors.hpp"
#include "pyext/native_module.hpp"
#include "pyext/python_host.hpp"
#include "pyext/ref.hpp"
#include "pyext/script.hpp"
#include "pyhost/embed.hpp"
#include "pyhost/host_core.hpp"

namespace coppice::py {

namespace {

class loaded_side final : public tree::python_side {
 public:
  explicit loaded_side(std::string executable) : executable_(std::move(executable)) {
    embed_options options;
    options.executable = executable_;
    python_ = embedding::up(options);
  }

  std::unique_ptr<spawn::backend> make_subint(tree::process_runtime& rt) override {
    return python_host(python_.get(), "", executable_, tree::python_package_path()).make_subint(rt);
  }

  int run_script(const std::vector<std::string>& argv, const spawn::selection& selected) override {
    return run_script_as_root(*python_, executable_, argv, selected);
  }

  std::size_t live_interpreters() const override { return py::live_interpreters().load(); }

  std::string standard_library() override {
    // Not even these two look-ups run code: the main interpreter stays as it came up.
    const PyGILState_STATE held = PyGILState_Ensure();
    std::string folder;
    {
      const ref text = ref::of(PySys_GetObject("_stdlib_dir"));
      if (text && PyUnicode_Check(text.get())) folder = to_utf8(text.get());
    }
    PyGILState_Release(held);
    if (folder.empty())
      throw error("this Python does not know where its standard library is; name a folder");
    return folder;
  }

 private:
  const std::string executable_;
  std::unique_ptr<embedding> python_;
};

}  // namespace

}  // namespace coppice::py

extern "C" __attribute__((visibility("default"))) coppice::tree::python_side* coppice_python_side(
    const char* executable) {
  return std::make_unique<coppice::py::loaded_side>(executable).release();
}
