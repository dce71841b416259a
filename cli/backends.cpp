// SPDX-License-Identifier: Apache-2.0
#include "cli/backends.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "actor/backend_table.hpp"
#include "actor/backends.hpp"
#include "actor/process_runtime.hpp"
#include "coppice/runtime.hpp"

namespace coppice::cli {

namespace {

using tree::backend_row;

std::string languages_of(const spawn::method& m) {
  if (m.native && m.python) return "C++, Python";
  return m.native ? "C++" : "Python";
}

std::string_view isolation_of(const spawn::method& m) {
  return m.apart ? name_of(*m.apart) : "of its choice";
}

double milliseconds_of(duration d) { return std::chrono::duration<double, std::milli>(d).count(); }

std::string verdict_of(const backend_row& row) {
  if (!row.forced_stops) return "";
  if (!row.forced_stops->works) return "forced stops: " + row.forced_stops->text;
  return fmt::format("forced stops work: the self-test's took {:.1f} ms",
                     milliseconds_of(row.forced_stops->took));
}

constexpr std::size_t columns = 5;
using line = std::array<std::string, columns>;

line cells_of(const backend_row& row) {
  const spawn::method& m = *row.what;
  return {std::string(m.key), languages_of(m), std::string(isolation_of(m)),
          m.can_be_killed ? "yes" : "no", row.available ? "yes" : "no"};
}

std::string names_of(const name_list& names) {
  std::string text;
  for (std::string_view n : names) text += (text.empty() ? "" : ", ") + std::string(n);
  return text;
}

void print_backend_table(const std::vector<backend_row>& rows) {
  std::vector<line> lines = {{"method", "languages", "isolation", "can be killed", "here"}};
  for (const backend_row& row : rows) lines.push_back(cells_of(row));
  std::array<std::size_t, columns> width{};
  for (const line& l : lines)
    for (std::size_t i = 0; i < columns; ++i) width[i] = std::max(width[i], l[i].size());
  for (std::size_t n = 0; n < lines.size(); ++n) {
    std::string text;
    for (std::size_t i = 0; i < columns; ++i)
      text += fmt::format("{:<{}}", lines[n][i], i + 1 == columns ? 0 : width[i] + 2);
    std::printf("%s\n", text.c_str());
    if (n == 0) continue;
    const backend_row& row = rows[n - 1];
    const std::string also = names_of(row.what->aliases);
    std::printf("    %s%s\n", std::string(row.what->text).c_str(),
                also.empty() ? "" : (" (also called " + also + ")").c_str());
    if (row.available) std::printf("    needs %s\n", std::string(row.what->needs).c_str());
    for (const std::string& more : {row.reason, verdict_of(row)})
      if (!more.empty()) std::printf("    %s\n", more.c_str());
  }
}

std::string json_text(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\')
      out += fmt::format("\\{}", c);
    else if (static_cast<unsigned char>(c) < 0x20)
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    else
      out += c;
  }
  return out + '"';
}

std::string json_list(const std::vector<std::string_view>& texts) {
  std::string out = "[";
  for (std::string_view text : texts) out += (out.size() > 1 ? ", " : "") + json_text(text);
  return out + "]";
}

std::string backend_json(const backend_row& row) {
  const spawn::method& m = *row.what;
  std::vector<std::string_view> languages;
  if (m.native) languages.emplace_back("C++");
  if (m.python) languages.emplace_back("Python");
  std::string forced = "null";
  if (const auto& f = row.forced_stops)
    forced = fmt::format("{{\"works\": {}, \"text\": {}, \"seconds\": {:.6f}}}", f->works,
                         json_text(f->text), milliseconds_of(f->took) / 1000);
  return fmt::format(
      "{{\"key\": {}, \"aliases\": {}, \"languages\": {}, \"isolation\": {}, "
      "\"can_be_killed\": {}, \"needs\": {}, \"text\": {}, \"available\": {}, \"reason\": {}, "
      "\"forced_stops\": {}}}",
      json_text(m.key), json_list({m.aliases.begin(), m.aliases.end()}), json_list(languages),
      m.apart ? json_text(name_of(*m.apart)) : "null", m.can_be_killed, json_text(m.needs),
      json_text(m.text), row.available, json_text(row.reason), forced);
}

}  // namespace

int print_backends(bool json) {
  tree::process_options options;
  options.make_backends = [](tree::process_runtime& rt) {
    return tree::standard_backends(rt, {.reaches_run_main = true});
  };
  tree::process_runtime rt(std::move(options));
  const auto rows = tree::backend_table(rt.backends(), true);
  if (json) {
    std::string text = "[";
    for (const backend_row& row : rows) text += (text.size() > 1 ? ",\n " : "") + backend_json(row);
    std::printf("%s]\n", text.c_str());
  } else {
    print_backend_table(rows);
  }
  if (!rt.stop()) leave(0);  // The self-test's guest is stuck, which the table says.
  return 0;
}

}  // namespace coppice::cli
