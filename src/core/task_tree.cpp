// SPDX-License-Identifier: Apache-2.0
// A snapshot of the task tree as text and as JSON.
#include <cmath>
#include <cstdio>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "base/describe.hpp"
#include "coppice/introspect.hpp"
#include "core/text.hpp"

namespace coppice {

namespace {

const char* to_text(task_tree::outcome how) {
  switch (how) {
    case task_tree::outcome::complete:
      return "complete";
    case task_tree::outcome::cut:
      return "cut";
    case task_tree::outcome::stalled:
      return "stalled";
    case task_tree::outcome::busy:
      return "busy";
    case task_tree::outcome::not_running:
      return "not_running";
    case task_tree::outcome::ended:
      return "ended";
  }
  return "?";
}

const char* to_text(task_info::phase state) {
  switch (state) {
    case task_info::phase::ready:
      return "ready";
    case task_info::phase::running:
      return "running";
    case task_info::phase::waiting:
      return "waiting";
  }
  return "?";
}

std::string quoted(const std::string& text) {
  std::string all = "'";
  return all.append(text).append("'");
}

// --- text

std::string line_of(const task_tree& t) {
  std::string text = "loop " + quoted(t.loop) + ": ";
  switch (t.how) {
    case task_tree::outcome::complete:
      return text + std::to_string(t.tasks.size()) + " tasks";
    case task_tree::outcome::cut:
      return text + "more tasks than the " + std::to_string(t.tasks.size()) + " that are shown";
    case task_tree::outcome::stalled:
      return text + "stalled for " + core::to_text(t.stalled_for) + " or more by " +
             (t.stalled_by.empty() ? "what has returned meanwhile" : t.stalled_by);
    case task_tree::outcome::busy:
      return text + "too busy to answer in time, but not stalled";
    case task_tree::outcome::not_running:
      return text + "not running";
    case task_tree::outcome::ended:
      return text + "ended";
  }
  return text;
}

std::string line_of(const scope_info& s) {
  std::string text = "scope " + quoted(s.name);
  if (s.shield) text += ", shielded";
  if (s.cancelled)
    return text + ", cancelled by " + s.cancelled_by + " (asked by " + s.canceller + ")";
  if (s.deadline_in) text += ", deadline in " + core::to_text(*s.deadline_in);
  return text;
}

std::string line_of(const task_info& t) {
  std::string text = "task " + std::to_string(t.id);
  if (!t.name.empty()) text += " " + quoted(t.name);
  text += ": ";
  if (t.state == task_info::phase::waiting) {
    text += "waits for " + t.waits_for + ", since " + core::to_text(t.waits_since);
  } else {
    text += to_text(t.state);
  }
  if (!t.coroutine.empty()) text += ", in " + t.coroutine;
  return text;
}

/// Writes tasks below their parents, without recursion: programs nest as deep as they like.
class text_tree {
 public:
  explicit text_tree(const task_tree& t) : tree_(t), below_(t.tasks.size()) {
    std::unordered_map<std::uint64_t, std::size_t> at;
    for (std::size_t i = 0; i < t.tasks.size(); ++i) at[t.tasks[i].id] = i;
    for (std::size_t i = 0; i < t.tasks.size(); ++i) {
      const auto parent = at.find(t.tasks[i].parent);
      (parent == at.end() ? tops_ : below_[parent->second]).push_back(i);
    }
  }

  std::string text() {
    add(0, line_of(tree_));
    for (auto i = tops_.rbegin(); i != tops_.rend(); ++i) push_task(*i, 1);
    while (!to_do_.empty()) {
      const step s = to_do_.back();
      to_do_.pop_back();
      s.is_task ? write_task(s) : write_nursery(s);
    }
    for (const abandoned_work& w : tree_.quarantine) add(1, core::to_text(w));
    return std::move(text_);
  }

 private:
  struct step {
    std::size_t task;
    std::size_t nursery;  // Of the task, if this is not the task itself.
    int depth;
    bool is_task;
  };

  void add(int depth, std::string_view line) {
    text_.append(static_cast<std::size_t>(depth) * 2, ' ').append(line).push_back('\n');
  }
  void push_task(std::size_t i, int depth) {
    to_do_.push_back({.task = i, .nursery = 0, .depth = depth, .is_task = true});
  }

  void write_task(const step& s) {
    const task_info& t = tree_.tasks[s.task];
    add(s.depth, line_of(t));
    std::vector<bool> of_nursery(t.scopes.size());
    for (const nursery_info& n : t.nurseries)
      if (n.scope < of_nursery.size()) of_nursery[n.scope] = true;
    for (std::size_t i = 0; i < t.scopes.size(); ++i)
      if (!of_nursery[i]) add(s.depth + 1, line_of(t.scopes[i]));
    const auto& below = below_[s.task];
    for (auto i = below.rbegin(); i != below.rend(); ++i)
      if (tree_.tasks[*i].nursery == task_info::unknown) push_task(*i, s.depth + 1);
    for (std::size_t n = t.nurseries.size(); n-- > 0;)
      to_do_.push_back({.task = s.task, .nursery = n, .depth = s.depth + 1, .is_task = false});
  }

  void write_nursery(const step& s) {
    const task_info& t = tree_.tasks[s.task];
    const nursery_info& n = t.nurseries[s.nursery];
    std::string line = "nursery " + quoted(n.name) + ", " + std::to_string(n.tasks) + " tasks";
    if (n.scope < t.scopes.size()) {
      const scope_info& scope = t.scopes[n.scope];
      const std::string said = line_of(scope);
      line += said.substr(std::string_view("scope ''").size() + scope.name.size());
    }
    add(s.depth, line);
    const auto& below = below_[s.task];
    for (auto i = below.rbegin(); i != below.rend(); ++i)
      if (tree_.tasks[*i].nursery == s.nursery) push_task(*i, s.depth + 1);
  }

  const task_tree& tree_;
  std::vector<std::vector<std::size_t>> below_;  // Children, by the parent's place.
  std::vector<std::size_t> tops_;                // The root, and whose parent is not there.
  std::vector<step> to_do_;
  std::string text_;
};

// --- JSON

/// Objects and lists of one line. Keys are literals that need no escape.
class json_writer {
 public:
  void open(char bracket) {
    text_ += bracket;
    first_ = true;
  }
  void close(char bracket) {
    text_ += bracket;
    first_ = false;
  }
  json_writer& key(std::string_view k) {
    next();
    text_.append("\"").append(k).append("\":");
    first_ = true;  // The value comes without a comma.
    return *this;
  }
  void next() {
    if (!first_) text_ += ',';
    first_ = false;
  }
  void raw(std::string_view value) {
    next();
    text_ += value;
  }
  void number(std::uint64_t n) { raw(std::to_string(n)); }
  void boolean(bool b) { raw(b ? "true" : "false"); }
  void seconds(duration d) {
    char text[40];
    std::snprintf(text, sizeof text, "%s%lld.%09lld", d.count() < 0 ? "-" : "",
                  std::llabs(d.count() / 1'000'000'000), std::llabs(d.count() % 1'000'000'000));
    raw(text);
  }
  void string(std::string_view s);
  void text_or_null(std::string_view s) { s.empty() ? raw("null") : string(s); }

  std::string take() { return std::move(text_); }

 private:
  static std::size_t utf8_length(std::string_view s);

  std::string text_;
  bool first_ = true;
};

// Of the character that `s` begins with; 0: that is none.
std::size_t json_writer::utf8_length(std::string_view s) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(s[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  const std::size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || s.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  // Longer than need be, a surrogate, or beyond the last character.
  const bool wrong = (lead == 0xe0 && byte(1) < 0xa0) || (lead == 0xed && byte(1) > 0x9f) ||
                     (lead == 0xf0 && byte(1) < 0x90) || (lead == 0xf4 && byte(1) > 0x8f);
  return wrong ? 0 : length;
}

void json_writer::string(std::string_view s) {
  next();
  text_ += '"';
  while (!s.empty()) {
    const std::size_t length = utf8_length(s);
    const auto c = static_cast<unsigned char>(s.front());
    if (length == 0) {
      text_ += "\\ufffd";  // Names are bytes to us, and text in JSON.
    } else if (c == '"' || c == '\\') {
      text_.append("\\").append(1, s.front());
    } else if (c < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", c);
      text_ += escape;
    } else {
      text_ += s.substr(0, length);
    }
    s.remove_prefix(length == 0 ? 1 : length);
  }
  text_ += '"';
}

void write(json_writer& out, const scope_info& s) {
  out.next();
  out.open('{');
  out.key("name").string(s.name);
  out.key("deadline_seconds");
  s.deadline_in ? out.seconds(*s.deadline_in) : out.raw("null");
  out.key("shield").boolean(s.shield);
  out.key("cancelled").boolean(s.cancelled);
  out.key("cancelled_by").text_or_null(s.cancelled_by);
  out.key("canceller").text_or_null(s.canceller);
  out.close('}');
}

void write(json_writer& out, const nursery_info& n) {
  out.next();
  out.open('{');
  out.key("name").string(n.name);
  out.key("tasks").number(n.tasks);
  out.key("scope").number(n.scope);
  out.close('}');
}

void write(json_writer& out, const task_info& t) {
  out.next();
  out.open('{');
  out.key("id").number(t.id);
  out.key("parent");
  t.parent == 0 ? out.raw("null") : out.number(t.parent);
  out.key("nursery");
  t.nursery == task_info::unknown ? out.raw("null") : out.number(t.nursery);
  out.key("name").text_or_null(t.name);
  out.key("coroutine").text_or_null(t.coroutine);
  out.key("state").string(to_text(t.state));
  out.key("waits_for").text_or_null(t.waits_for);
  out.key("waits_since_seconds");
  t.state == task_info::phase::waiting ? out.seconds(t.waits_since) : out.raw("null");
  out.key("scopes").open('[');
  for (const scope_info& s : t.scopes) write(out, s);
  out.close(']');
  out.key("nurseries").open('[');
  for (const nursery_info& n : t.nurseries) write(out, n);
  out.close(']');
  out.close('}');
}

void write(json_writer& out, const abandoned_work& w) {
  out.next();
  out.open('{');
  out.key("work").string(w.work);
  out.key("task").string(w.task);
  out.key("since_seconds").seconds(w.since);
  out.close('}');
}

}  // namespace

std::string task_tree::to_text() const { return text_tree(*this).text(); }

std::string task_tree::to_json() const {
  json_writer out;
  out.open('{');
  out.key("format").string("coppice.task_tree");
  out.key("version").number(1);
  out.key("loop").string(loop);
  out.key("outcome").string(coppice::to_text(how));
  out.key("stalled_seconds");
  how == outcome::stalled ? out.seconds(stalled_for) : out.raw("null");
  out.key("stalled_by").text_or_null(stalled_by);
  out.key("cost").open('{');
  out.key("slices").number(slices);
  out.key("slice_max_seconds").seconds(slice_max);
  out.key("loop_seconds").seconds(loop_time);
  out.close('}');
  out.key("tasks").open('[');
  for (const task_info& t : tasks) write(out, t);
  out.close(']');
  out.key("quarantine").open('[');
  for (const abandoned_work& w : quarantine) write(out, w);
  out.close(']');
  out.close('}');
  return out.take();
}

}  // namespace coppice
