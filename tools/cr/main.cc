// cr: the command of libcr. This file holds the command line alone; each subcommand is in cmd_*.cc.
//
// run and diff take a program with options of its own, so the command line is cut in two before
// CLI11 sees it: everything from the first word that is neither an option of the subcommand nor such
// an option's value (or from after "--") is the program's.
#include <algorithm>
#include <cstdio>
#include <exception>
#include <map>
#include <memory>
#include <sstream>

#include "subcommand.h"

namespace cr::tool {
namespace {

constexpr char kDescription[] =
    "libcr runs unmodified Linux programs on userland threads: every system call is a message.";

constexpr char kFooter[] = R"(
Start here:
  cr doctor                      what this kernel and machine allow
  cr run -- python3 prog.py      run a program on libcr
  cr run --stats -- xz -T4 file  the same, with the runtime's counters at the end
  cr diff -- ls -l /             does a program behave the same on libcr as natively?
  cr syscalls --served user      which system calls are answered in userland
  cr COMMAND --help              options, examples, environment and exit status of each

Without cr: LD_PRELOAD=.../libcr.so PROGRAM does the same as cr run -- PROGRAM, unchecked.

Exit status: that of the subcommand (see its help); 2 for a bad command line, 125 for run.)";

// Usage lines as a manual page has them, and descriptions wrapped: CLI11 2.1 does neither.
class HelpFormatter : public CLI::Formatter {
 public:
  HelpFormatter() { column_width(kColumn); }

  std::string make_usage(const CLI::App* app, std::string name) const override {
    const auto usage = usages_.find(app->get_name());
    if (usage == usages_.end()) return Formatter::make_usage(app, name);
    return "\nUsage: " + usage->second + "\n";
  }

  std::string make_option_desc(const CLI::Option* option) const override {
    std::istringstream words(option->get_description());
    std::string text;
    size_t column = kColumn;
    for (std::string word; words >> word; column += word.size() + 1) {
      if (column + word.size() > kWidth) {
        text += '\n';  // CLI11 indents what follows
        column = kColumn;
      } else if (!text.empty()) {
        text += ' ';
      }
      text += word;
    }
    return text;
  }

 private:
  static constexpr size_t kColumn = 28;
  static constexpr size_t kWidth = 96;
  const std::map<std::string, std::string> usages_ = {
      {"cr", "cr COMMAND [OPTIONS]"},
      {"run", "cr run [OPTIONS] [--] PROGRAM [ARGS...]"},
      {"diff", "cr diff [OPTIONS] [--] PROGRAM [ARGS...]"},
      {"doctor", "cr doctor [--json]"},
      {"syscalls", "cr syscalls [OPTIONS]"},
      {"bench", "cr bench [OPTIONS]"},
      {"backtrace", "cr backtrace PID ADDRESS"},
      {"analyze", "cr analyze [OPTIONS] OBJECT"}};
};

// The index of the first word of `arguments` that belongs to the program.
size_t program_begins(const CLI::App& app, const std::vector<std::string>& arguments) {
  size_t i = 0;
  while (i < arguments.size() && arguments[i].size() > 1 && arguments[i][0] == '-' &&
         arguments[i] != "--") {
    const CLI::Option* option = app.get_option_no_throw(arguments[i]);
    i += option && option->get_items_expected_min() > 0 ? 2 : 1;  // a flag takes no word
  }
  return std::min(i, arguments.size());
}

const Subcommand* find_subcommand(const std::vector<Subcommand>& all, const std::string& name) {
  for (const auto& subcommand : all) {
    if (subcommand.app->get_name() == name) return &subcommand;
  }
  return nullptr;
}

int run_command_line(std::vector<std::string> arguments) {
  CLI::App app(kDescription, "cr");
  app.set_version_flag("--version", "cr " CR_VERSION);
  app.require_subcommand(1);
  app.footer(kFooter);
  app.formatter(std::make_shared<HelpFormatter>());

  std::vector<Subcommand> subcommands = {make_run(app), make_diff(app), make_doctor(app),
                                         make_bench(app), make_syscalls(app)};
#ifdef CR_HAVE_UNWIND
  subcommands.push_back(make_backtrace(app));
#endif
#ifdef CR_HAVE_ANALYZE
  subcommands.push_back(make_analyze(app));
#endif

  const Subcommand* chosen = arguments.empty() ? nullptr : find_subcommand(subcommands, arguments[0]);
  if (!chosen && !arguments.empty() && !arguments[0].starts_with('-')) {
    fprintf(stderr, "cr: no such command: %s; see cr --help\n", arguments[0].c_str());
    return kExitUsage;
  }
  std::vector<std::string> program;
  if (chosen && chosen->takes_program) {
    const std::vector<std::string> rest(arguments.begin() + 1, arguments.end());
    const size_t begin = program_begins(*chosen->app, rest);
    program.assign(rest.begin() + begin, rest.end());
    if (!program.empty() && program.front() == "--") program.erase(program.begin());
    arguments.resize(1 + begin);
  }
  try {
    std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them last first
    app.parse(arguments);
  } catch (const CLI::Success& request) {  // --help, --version
    return app.exit(request);
  } catch (const CLI::ParseError& error) {
    const std::string name = chosen ? "cr " + chosen->app->get_name() : "cr";
    fprintf(stderr, "%s: %s; see %s --help\n", name.c_str(), error.what(), name.c_str());
    return chosen ? chosen->usage_status : kExitUsage;
  }
  return chosen->execute(program);
}

}  // namespace
}  // namespace cr::tool

int main(int argc, char** argv) {
  try {
    return cr::tool::run_command_line({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    fprintf(stderr, "cr: %s\n", error.what());
    return cr::tool::kExitUsage;
  }
}
