// SPDX-License-Identifier: Apache-2.0
#include "pyext/zygote.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

#include "pyext/convert.hpp"
#include "pyext/errors.hpp"
#include "pyext/leaving.hpp"
#include "pyext/process_child.hpp"
#include "pyext/ref.hpp"
#include "spawn/forkserver/zygote.hpp"

namespace coppice::py {

namespace {

constexpr int connection_fd = 3;

// What every actor imports once it has an `async def` endpoint.
constexpr const char* own_modules[] = {"coppice", "coppice._asyncio"};

std::size_t thread_count() {
  std::size_t n = 0;
  std::error_code ignored;
  for (std::filesystem::directory_iterator it("/proc/self/task", ignored), end;
       !ignored && it != end; it.increment(ignored))
    ++n;
  return n;
}

/// Why it cannot be there in children; nothing if it is imported.
std::optional<std::string> import_trouble(const std::string& name) {
  const ref module = ref::take(PyImport_ImportModule(name.c_str()));
  if (!module) {
    const ref error = take_error();
    const ref text = ref::take(error ? PyObject_Str(error.get()) : nullptr);
    PyErr_Clear();
    return fmt::format("forkserver_preload: {} does not import: {}: {}", name,
                       Py_TYPE(error.get())->tp_name, text ? to_utf8(text.get()) : "?");
  }
  if (const auto threads = thread_count(); threads > 1)
    return fmt::format(
        "forkserver_preload: importing {} started {} thread{}, which a forked child "
        "would not have: leave it out, or use 'process' or 'subint'",
        name, threads - 1, threads == 2 ? "" : "s");
  return std::nullopt;
}

/// Best effort: without it children copy more pages.
void freeze_objects() {
  const ref gc = ref::take(PyImport_ImportModule("gc"));
  const ref collected = ref::take(gc ? PyObject_CallMethod(gc.get(), "collect", nullptr) : nullptr);
  const ref frozen = ref::take(gc ? PyObject_CallMethod(gc.get(), "freeze", nullptr) : nullptr);
  PyErr_Clear();
}

/// os.environ is a copy, made when the zygote imported os.
void reload_environment() {
  const ref os = ref::take(PyImport_ImportModule("os"));
  const ref done =
      ref::take(os ? PyObject_CallMethod(os.get(), "reload_environ", nullptr) : nullptr);
  if (!done) throw python_error();
}

}  // namespace

int zygote_main(const std::vector<std::string>& preload) {
  std::vector<std::string> all(std::begin(own_modules), std::end(own_modules));
  all.insert(all.end(), preload.begin(), preload.end());
  for (const auto& name : all)
    if (const auto why = import_trouble(name)) {
      flush_output();
      spawn::refuse_to_serve(connection_fd, *why);
      ::_exit(1);
    }
  freeze_objects();
  flush_output();  // What is buffered now, every child would print.
  auto child =
      spawn::serve_zygote(base::unique_fd(connection_fd), {.before = &PyOS_BeforeFork,
                                                           .in_parent = &PyOS_AfterFork_Parent,
                                                           .in_child = &PyOS_AfterFork_Child});
  if (!child) ::_exit(0);
  reload_environment();
  process_child start;
  start.uid = std::move(child->order.uid);
  start.parent_addr = std::move(child->order.parent_address);
  start.in_guest = child->order.in_guest;
  start.gil = child->order.shared_gil ? gil_mode::shared : gil_mode::own;
  start.zygote = std::make_shared<base::unique_fd>(std::move(child->zygote));
  return child_main(start);
}

}  // namespace coppice::py
