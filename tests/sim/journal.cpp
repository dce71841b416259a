// SPDX-License-Identifier: Apache-2.0
#include "journal.hpp"

#include <cstdio>
#include <cstdlib>

#include "base/describe.hpp"

namespace coppice::sim {

namespace {
journal* under_way = nullptr;
}

journal::journal(std::uint64_t seed, std::string repeat, const core::loop& loop, bool print)
    : seed_(seed), repeat_(std::move(repeat)), loop_(loop), print_(print), began_(loop.now()) {
  under_way = this;
}

journal::~journal() { under_way = nullptr; }

void journal::add(std::string line) {
  const auto at = (loop_.now() - began_).count();
  line = fmt::format("{:>6}.{:06} ms  {}", at / 1'000'000, at % 1'000'000, line);
  for (const char c : line) hash_ = (hash_ ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  ++events_;
  if (print_) std::puts(line.c_str());
  last_.push_back(std::move(line));
  if (last_.size() > lines_max) last_.pop_front();
}

void journal::report(const std::string& what, bool tree) {
  under_way = nullptr;
  if (!print_)
    for (const auto& line : last_) std::printf("  %s\n", line.c_str());
  if (tree) {
    base::tree_writer w;
    loop_.describe(w);
    std::printf("%s", w.text().c_str());
  }
  std::printf("seed %llu: %s\nrepeat with: %s\n", static_cast<unsigned long long>(seed_),
              what.c_str(), repeat_.c_str());
  std::fflush(nullptr);
  std::_Exit(1);
}

void journal::crashed(const char* how) {
  if (under_way != nullptr) under_way->report(how, false);
}

}  // namespace coppice::sim
