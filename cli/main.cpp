// SPDX-License-Identifier: Apache-2.0
// The `coppice` command. CLI11 stops here.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>
#include <vector>

#include "actor/python_side.hpp"
#include "cli/backends.hpp"
#include "cli/endpoints.hpp"
#include "cli/reap.hpp"
#include "cli/tour.hpp"
#include "coppice/coppice.hpp"
#include "coppice/version.hpp"
#include "spawn/methods.hpp"

namespace coppice::cli {
namespace {

task<> no_root(actor&) { co_return; }

int tour(int argc, char** argv, const tour_options& options) {
  auto root = [options](actor& self) -> task<int> { return run_tour(self, options); };
  return run_main(argc, argv, root,
                  {.endpoints = {ping_endpoint},
                   .name = "tour",
                   .on_hard_stop = [](const actor_exit&) {}});  // It shows them.
}

/// What the command line said.
struct command_line {
  tour_options tour;
  std::string script;
  std::string spawn_method;  // Of the script.
  bool json = false;         // Of the table of backends.
  reap_options reap;

  CLI::App app{"coppice: trees of C++ and Python actors that end when their scope does"};
  CLI::App* tour_command = nullptr;
  CLI::App* run_command = nullptr;
  CLI::App* backends_command = nullptr;
  CLI::App* reap_command = nullptr;

  command_line() {
    app.set_version_flag("--version", std::string("coppice ") + version());
    app.require_subcommand(1);

    tour_command = app.add_subcommand("tour", "real work, stuck guests, and nothing left behind");
    tour_command->add_option("folder", tour.folder,
                             "folder of Python files (default: the standard library)");
    tour_command->add_option("--guests", tour.guests, "how many guests (default: one per core)")
        ->check(CLI::Range(1u, 64u));
    tour_command->add_flag("--json", tour.json, "print one JSON object");

    run_command = app.add_subcommand("run", "run a Python script as the root actor");
    run_command->add_option("--spawn-method", spawn_method,
                            "how its actors are started that do not say so themselves; beats "
                            "$COPPICE_SPAWN_METHOD and the script");
    run_command->add_option("script", script, "the script")->required();

    backends_command = app.add_subcommand(
        "backends", "the spawn methods: what each is, and whether this machine can serve it");
    backends_command->add_flag("--json", json, "print a JSON array");

    reap_command = app.add_subcommand(
        "reap", "show what a run that crashed left behind; status 1 if there is something");
    reap_command->add_flag("--yes", reap.yes,
                           "end the processes and remove the files; status 1 if something stays");
    reap_command->add_flag("--files", reap.files_only, "only files");
    reap_command->add_option("pid", reap.pids, "only these processes, with what is below them")
        ->excludes("--files");
  }

  bool knows(const std::string& word) const {
    for (const CLI::App* command : {tour_command, run_command, backends_command, reap_command})
      if (command->check_name(word)) return true;
    return false;
  }
};

/// Where the script's own arguments begin, which are nobody else's to read: behind the first word
/// of `run` that is neither an option nor the value of one.
int own_arguments(int argc, char** argv) {
  if (argc < 2 || std::strcmp(argv[1], "run") != 0) return argc;
  for (int i = 2; i < argc; ++i) {
    if (std::strcmp(argv[i], "--spawn-method") == 0)
      ++i;
    else if (argv[i][0] != '-')
      return i + 1;
  }
  return argc;
}

int run_script(const command_line& said, std::vector<std::string> arguments) {
  const spawn::selection selected = spawn::select(
      {.environment = spawn::method_in_environment(), .command_line = said.spawn_method});
  spawn::hand_on(selected);
  arguments.insert(arguments.begin(), said.script);
  return tree::run_script(arguments, selected);
}

int main(int argc, char** argv) {
  // A native child of ours: run_main() takes it from here.
  if (argc > 1 && std::strcmp(argv[1], "--coppice-child") == 0)
    return run_main(argc, argv, no_root, {.endpoints = {ping_endpoint}});

  command_line said;
  const int own = own_arguments(argc, argv);
  try {
    said.app.parse(own, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return said.app.exit(e);  // --help, --version.
    // CLI11 would only say that a subcommand is required.
    const std::string first = argc > 1 ? argv[1] : "-";
    const bool known = first[0] == '-' || said.knows(first);
    const std::string what = known ? e.what() : "there is no command '" + first + "'";
    std::fprintf(stderr, "error: %s; see coppice --help\n", what.c_str());
    return 2;
  }
  if (*said.tour_command) return tour(argc, argv, said.tour);
  if (*said.backends_command) return print_backends(said.json);
  if (*said.reap_command) return reap(said.reap);
  return run_script(said, {argv + own, argv + argc});
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
