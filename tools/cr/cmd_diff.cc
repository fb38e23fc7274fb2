// cr diff: the differential test in one command. The program runs natively and on libcr, and must
// write the same bytes to standard output and standard error and end the same way.
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <system_error>

#include "prefix.h"
#include "quantity.h"
#include "subcommand.h"
#include "target.h"
#include "trial.h"

namespace cr::tool {
namespace {

constexpr char kFooter[] = R"(
Standard input of both runs is the file that --stdin names, or cr's own standard input if that is a
file, or else /dev/null. The comparison is byte for byte: a program that prints times, addresses or
process ids differs from itself; cr says so when two native runs differ too.

Examples:
  cr diff -- sort -n numbers.txt
  cr diff --runs 20 --cpus 2 -- python3 threads.py < input

Exit status: 0 the same in every run, 1 a difference (shown as a unified diff), 2 a bad command line,
  124 the native run timed out, 125 libcr.so is missing,
  126 the program can't be run, 127 there is no such program.)";

constexpr int kSame = 0;
constexpr int kDifferent = 1;
constexpr int kNativeTimedOut = 124;

struct DiffOptions {
  unsigned runs = 1;
  unsigned timeout = 60;
  std::string cpus;
  std::string input;
};

// A directory that goes away with the object.
class TemporaryDirectory {
 public:
  TemporaryDirectory() : path_((std::filesystem::temp_directory_path() / "cr-diff-XXXXXX").string()) {
    if (!mkdtemp(path_.data())) throw std::system_error(errno, std::system_category(), path_);
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::string default_input() {
  struct stat status;
  const bool is_file = fstat(STDIN_FILENO, &status) == 0 && S_ISREG(status.st_mode);
  // Opening it anew through /proc gives each run a file offset of its own.
  return is_file ? "/proc/" + std::to_string(getpid()) + "/fd/0" : "/dev/null";
}

void print_diff(const std::string& stream, const std::string& native, const std::string& libcr) {
  fflush(stdout);
  const pid_t pid = fork();
  if (pid == 0) {
    const std::string from = stream + " native";
    const std::string to = stream + " libcr";
    execlp("diff", "diff", "-u", "--label", from.c_str(), "--label", to.c_str(), native.c_str(),
           libcr.c_str(), nullptr);
    printf("%s differs (install diffutils to see how)\n", stream.c_str());
    fflush(stdout);
    _exit(0);
  }
  waitpid(pid, nullptr, 0);
}

bool same_outcome(const TrialResult& a, const TrialResult& b) {
  return a.end == b.end && read_file(a.output_path) == read_file(b.output_path) &&
         read_file(a.error_path) == read_file(b.error_path);
}

void print_difference(const TrialResult& native, const TrialResult& libcr) {
  if (native.end != libcr.end) {
    printf("end: native %s, libcr %s\n", native.end.c_str(), libcr.end.c_str());
  }
  if (read_file(native.output_path) != read_file(libcr.output_path)) {
    print_diff("stdout", native.output_path, libcr.output_path);
  }
  if (read_file(native.error_path) != read_file(libcr.error_path)) {
    print_diff("stderr", native.error_path, libcr.error_path);
  }
}

std::vector<std::string> libcr_command(const DiffOptions& options, const Prefix& prefix,
                                       const std::vector<std::string>& program) {
  std::vector<std::string> command = {prefix.command(), "run"};
  if (!options.cpus.empty()) command.insert(command.end(), {"--cpus", options.cpus});
  command.push_back("--");
  command.insert(command.end(), program.begin(), program.end());
  return command;
}

int compare(const DiffOptions& options, const Prefix& prefix, const std::vector<std::string>& program) {
  const TemporaryDirectory directory;
  TrialSetup setup{program,  options.input.empty() ? default_input() : options.input,
                   directory.path(), "native", std::chrono::seconds(options.timeout), true};
  TrialSetup on_libcr = setup;
  on_libcr.argv = libcr_command(options, prefix, program);
  on_libcr.label = "libcr";
  on_libcr.native = false;

  for (unsigned run = 1; run <= options.runs; ++run) {
    const TrialResult native = run_trial(setup);
    if (native.timed_out) {
      fprintf(stderr, "cr: %s: the native run timed out after %u s; raise --timeout\n",
              program.front().c_str(), options.timeout);
      return kNativeTimedOut;
    }
    const TrialResult libcr = run_trial(on_libcr);
    if (same_outcome(native, libcr)) continue;
    printf("run %u of %u differs\n", run, options.runs);
    print_difference(native, libcr);
    setup.label = "native-again";
    if (!same_outcome(native, run_trial(setup))) {
      printf("note: two native runs differ from each other too\n");
    }
    return kDifferent;
  }
  printf("same: %u run%s, native and libcr\n", options.runs, options.runs == 1 ? "" : "s");
  return kSame;
}

int run_diff(const DiffOptions& options, const std::vector<std::string>& program) {
  if (program.empty()) {
    fprintf(stderr, "cr: diff: no program given; say cr diff -- PROGRAM [ARGS...]\n");
    return kExitUsage;
  }
  const Prefix prefix = find_prefix();
  try {
    find_target(program, prefix);
  } catch (const TargetError& error) {
    fprintf(stderr, "cr: %s: %s\n", program.front().c_str(), error.message.c_str());
    return error.status;
  }
  // Checked here as well as by `cr run`: its message would only show as a difference in stderr.
  if (!std::filesystem::exists(prefix.preload())) {
    fprintf(stderr, "cr: %s: no such file; %s\n", prefix.preload().c_str(), kHowToBuild);
    return kExitRunFailed;
  }
  return compare(options, prefix, program);
}

}  // namespace

Subcommand make_diff(CLI::App& cr) {
  auto options = std::make_shared<DiffOptions>();
  CLI::App* app = cr.add_subcommand("diff", "Compare a program's native run with its run on libcr");
  app->add_option("--runs", options->runs, "Pairs of runs (default 1)")
      ->check(CLI::Range(1u, 1000000u))->type_name("N");
  app->add_option("--cpus", options->cpus, "As for cr run")->check(check_cpus)->type_name("N");
  app->add_option("--timeout", options->timeout, "Kill a run after so many seconds (default 60)")
      ->check(CLI::Range(1u, 86400u))->type_name("S");
  app->add_option("--stdin", options->input, "Standard input of both runs")
      ->check(CLI::ExistingFile)->type_name("FILE");
  app->footer(kFooter);
  return {app, true, kExitUsage,
          [options](const std::vector<std::string>& program) { return run_diff(*options, program); }};
}

}  // namespace cr::tool
