// SPDX-License-Identifier: Apache-2.0
#include "pyext/backends.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "actor/backend_table.hpp"
#include "actor/backends.hpp"
#include "actor/process_runtime.hpp"
#include "pyext/convert.hpp"
#include "pyext/program.hpp"
#include "pyhost/embed.hpp"
#include "spawn/methods.hpp"

namespace coppice::py {

namespace {

ref tuple_of(const std::vector<std::string_view>& texts) {
  ref tuple = checked(ref::take(PyTuple_New(static_cast<Py_ssize_t>(texts.size()))));
  for (std::size_t i = 0; i < texts.size(); ++i)
    PyTuple_SET_ITEM(tuple.get(), static_cast<Py_ssize_t>(i), checked(to_str(texts[i])).release());
  return tuple;
}

ref text_or_none(const std::optional<std::string>& text) { return text ? to_str(*text) : none(); }

void append(const ref& list, ref item) {
  if (PyList_Append(list.get(), checked(std::move(item)).get()) != 0) throw python_error();
}

ref row_of(const spawn::method& m) {
  std::vector<std::string_view> languages;
  if (m.native) languages.emplace_back("C++");
  if (m.python) languages.emplace_back("Python");
  const ref key = checked(to_str(m.key));
  const ref aliases = tuple_of({m.aliases.begin(), m.aliases.end()});
  const ref spoken = tuple_of(languages);
  const ref apart = checked(m.apart ? to_str(name_of(*m.apart)) : none());
  const ref needs = checked(to_str(m.needs));
  const ref text = checked(to_str(m.text));
  return ref::take(PyTuple_Pack(7, key.get(), aliases.get(), spoken.get(), apart.get(),
                                m.can_be_killed ? Py_True : Py_False, needs.get(), text.get()));
}

ref row_of(const tree::backend_row& row) {
  const ref key = checked(to_str(row.what->key));
  const ref reason = checked(to_str(row.reason));
  ref forced = none();
  if (const auto& f = row.forced_stops) {
    const ref text = checked(to_str(f->text));
    const ref seconds =
        checked(ref::take(PyFloat_FromDouble(std::chrono::duration<double>(f->took).count())));
    forced = checked(
        ref::take(PyTuple_Pack(3, f->works ? Py_True : Py_False, text.get(), seconds.get())));
  }
  return ref::take(
      PyTuple_Pack(4, key.get(), row.available ? Py_True : Py_False, reason.get(), forced.get()));
}

}  // namespace

ref spawn_methods() {
  ref list = checked(ref::take(PyList_New(0)));
  for (const spawn::method& m : spawn::methods()) append(list, row_of(m));
  return list;
}

ref backends() {
  std::vector<std::pair<std::string, std::optional<std::string>>> known;
  if (auto* rt = tree::process_runtime::current()) {
    PyThreadState* mine = PyEval_SaveThread();
    const spawn::child_spec any;
    for (const auto& b : rt->backends()) known.emplace_back(b->key(), b->refusal(any));
    PyEval_RestoreThread(mine);
  } else {
    const std::string why = running_python_refusal();
    for (std::string_view key : tree::standard_keys()) {
      known.emplace_back(key, std::nullopt);
      if (!why.empty() && key.starts_with("subint")) known.back().second = why;
    }
  }
  ref list = checked(ref::take(PyList_New(0)));
  for (const auto& [key, why] : known) {
    const ref name = checked(to_str(key));
    const ref text = checked(text_or_none(why));
    append(list, ref::take(PyTuple_Pack(2, name.get(), text.get())));
  }
  return list;
}

ref backend_table() {
  // A guest's own thread is not to wait for another guest that is forced.
  const bool may_test = PyInterpreterState_Get() == PyInterpreterState_Main();
  std::vector<tree::backend_row> rows;
  with_runtime(
      [&](tree::process_runtime& rt) { rows = tree::backend_table(rt.backends(), may_test); });
  ref list = checked(ref::take(PyList_New(0)));
  for (const tree::backend_row& row : rows) append(list, row_of(row));
  return list;
}

ref place(const std::string& key) {
  auto* rt = tree::process_runtime::current();
  const auto at = rt ? rt->place(key) : tree::process_runtime::placement{key};
  const ref text = checked(to_str(at.key));
  const ref why = checked(at.why.empty() ? none() : to_str(at.why));
  return ref::take(PyTuple_Pack(2, text.get(), why.get()));
}

ref command_line_method() {
  const auto* rt = tree::process_runtime::current();
  if (!rt || rt->options().selected.by != spawn::asked_by::command_line) return none();
  return to_str(rt->options().selected.asked_as);
}

}  // namespace coppice::py
