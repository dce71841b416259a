// SPDX-License-Identifier: Apache-2.0
// The `coppice` command. CLI11 stops here.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>
#include <vector>

#include "actor/python_side.hpp"
#include "cli/endpoints.hpp"
#include "cli/tour.hpp"
#include "coppice/coppice.hpp"
#include "coppice/version.hpp"

namespace coppice::cli {
namespace {

task<> no_root(actor&) { co_return; }

int tour(int argc, char** argv, const tour_options& options) {
  auto root = [options](actor& self) -> task<int> { return run_tour(self, options); };
  return run_main(argc, argv, root, {.endpoints = {ping_endpoint}, .name = "tour"});
}

int main(int argc, char** argv) {
  // A native child of ours: run_main() takes it from here.
  if (argc > 1 && std::strcmp(argv[1], "--coppice-child") == 0)
    return run_main(argc, argv, no_root, {.endpoints = {ping_endpoint}});

  CLI::App app{"coppice: trees of C++ and Python actors that end when their scope does"};
  app.set_version_flag("--version", std::string("coppice ") + version());
  app.require_subcommand(1);

  tour_options t;
  auto* tour_command =
      app.add_subcommand("tour", "real work, stuck guests, and nothing left behind");
  tour_command->add_option("folder", t.folder,
                           "folder of Python files (default: the standard library)");
  tour_command->add_option("--guests", t.guests, "how many guests (default: one per core)")
      ->check(CLI::Range(1u, 64u));
  tour_command->add_flag("--json", t.json, "print one JSON object");

  std::string script;
  auto* run_command = app.add_subcommand("run", "run a Python script as the root actor");
  run_command->add_option("script", script, "the script")->required();
  // What follows the script is the script's own.
  run_command->prefix_command();

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // --help, --version.
    // CLI11 would only say that a subcommand is required.
    const std::string first = argc > 1 ? argv[1] : "-";
    const bool known =
        first[0] == '-' || tour_command->check_name(first) || run_command->check_name(first);
    const std::string what = known ? e.what() : "there is no command '" + first + "'";
    std::fprintf(stderr, "error: %s; see coppice --help\n", what.c_str());
    return 2;
  }
  if (*tour_command) return tour(argc, argv, t);
  std::vector<std::string> arguments = run_command->remaining();
  arguments.insert(arguments.begin(), script);
  return tree::run_script(arguments);
}

}  // namespace
}  // namespace coppice::cli

int main(int argc, char** argv) {
  try {
    return coppice::cli::main(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    return 1;
  }
}
