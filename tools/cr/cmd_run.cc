// cr run: check the program, set the environment, exec it.
//
// cr is gone once the program runs: same process id, same parent, no supervisor. Everything that the
// runtime needs to know travels in the environment (environment.h).
#include <elf.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <system_error>

#include "elf_file.h"
#include "environment.h"
#include "prefix.h"
#include "probe.h"
#include "quantity.h"
#include "subcommand.h"
#include "target.h"

namespace cr::tool {
namespace {

constexpr char kFooter[] = R"(
PROGRAM is looked for in PATH. Options after PROGRAM are the program's own.

Examples:
  cr run -- xz -T4 big.tar            run xz, its threads as LWKTs
  cr run --cpus 1 python3 server.py   all threads on one kernel thread
  cr run --shim count make -j8        count the system calls by name
  cr run --shim ./my.so --stats prog  a shim of your own, counters at exit
  cr run --small-tls ./server         a page less for each thread that waits
  cr run --keep-gs firefox            a program that sets the %gs register

Environment (set by the options; with LD_PRELOAD=.../libcr.so you can set them yourself):
  LIBCR_CPUS         --cpus
  LIBCR_STACK_SIZE   --stack-size, in bytes
  LIBCR_SHIM         --shim, absolute paths separated by colons, first one nearest the program
  LIBCR_ENGINE       --engine
  LIBCR_STATS        1 for --stats
  LIBCR_ON_DEADLOCK  --on-deadlock
  GLIBC_TUNABLES     --small-tls adds glibc.rtld.nns=1:glibc.rtld.optional_static_tls=0
  LD_PRELOAD         libcr.so is put before what is there; --keep-gs: keep-gs/libcr.so

Exit status: the program's own, or
  125  cr can't go on: a bad option, libcr.so or a shim missing
  126  the program is there but can't be run; the message says why
  127  there is no such program)";

struct RunOptions {
  std::string cpus;
  std::string stack_size;
  std::vector<std::string> shims;
  std::string engine;
  std::string on_deadlock;
  bool stats = false;
  bool small_tls = false;
  bool keep_gs = false;
};

int fail(const std::string& subject, const std::string& message, int status) {
  fprintf(stderr, "cr: %s: %s\n", subject.c_str(), message.c_str());
  return status;
}

// A shim that was asked for but can't be used. `name` is what the user wrote.
struct ShimError {
  std::string name;
  std::string message;
};

std::string find_shim(const std::string& name, const Prefix& prefix, const std::string& preload) {
  namespace fs = std::filesystem;
  std::string path = name;
  if (name.find('/') == std::string::npos && !fs::is_regular_file(name)) {
    path = prefix.shipped_shim(name);
    if (!fs::exists(path)) {
      throw ShimError{name, "no such shim: neither a file nor shipped as " + path + "; check the name"};
    }
    // Beside the preload, for programs of both classes, if there are two.
    if (!fs::exists(prefix.root + "/lib/i386-linux-gnu" + Prefix::shim_file(name))) return path;
    return preload.substr(0, preload.rfind('/')) + Prefix::shim_file(name);
  }
  path = fs::absolute(path).lexically_normal().string();
  if (path.find(':') != std::string::npos) {
    throw ShimError{name, "its path holds a colon, which separates shims; move it"};
  }
  try {
    const auto elf = read_elf(path);
    if (!elf || !elf->interpreter.empty() || elf->type != ET_DYN) {
      throw ShimError{name, "is not a shared object; build it with cc -shared -fPIC"};
    }
  } catch (const std::system_error& error) {
    throw ShimError{name, error.code().message() + "; give the path of a shared object"};
  } catch (const std::runtime_error& error) {
    throw ShimError{name, std::string(error.what()) + "; build it again"};
  }
  return path;
}

void set_options(const RunOptions& options, const Prefix& prefix, const std::string& preload) {
  if (!options.cpus.empty()) setenv("LIBCR_CPUS", options.cpus.c_str(), 1);
  if (!options.stack_size.empty()) {
    const uint64_t bytes = parse_size(options.stack_size).value();
    setenv("LIBCR_STACK_SIZE", std::to_string(bytes).c_str(), 1);
  }
  if (!options.shims.empty()) {
    std::string list;
    for (const auto& name : options.shims) {
      if (!list.empty()) list += ':';
      list += find_shim(name, prefix, preload);
    }
    setenv("LIBCR_SHIM", list.c_str(), 1);
  }
  if (!options.engine.empty()) setenv("LIBCR_ENGINE", options.engine.c_str(), 1);
  if (options.stats) setenv("LIBCR_STATS", "1", 1);
  if (!options.on_deadlock.empty()) setenv("LIBCR_ON_DEADLOCK", options.on_deadlock.c_str(), 1);
  if (options.small_tls) {
    const char* tunables = getenv("GLIBC_TUNABLES");
    setenv("GLIBC_TUNABLES", with_small_tls(tunables != nullptr ? tunables : "").c_str(), 1);
  }
}

// Returns only if the exec fails.
int exec_target(const Target& target, const std::string& name) {
  std::vector<char*> argv;
  for (const auto& argument : target.argv) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  execve(target.path.c_str(), argv.data(), environ);
  const int error = errno;
  return fail(name, std::system_category().message(error) + "; the kernel refused to execute it",
              error == ENOENT ? kExitNoProgram : kExitNotRunnable);
}

int run(const RunOptions& options, const std::vector<std::string>& program) {
  if (program.empty()) {
    fprintf(stderr, "cr: run: no program given; say cr run -- PROGRAM [ARGS...]\n");
    return kExitRunFailed;
  }
  const Prefix prefix = find_prefix();
  Target target;
  try {
    target = find_target(program, prefix);
  } catch (const TargetError& error) {
    return fail(program.front(), error.message, error.status);
  }
  if (!std::filesystem::exists(prefix.preload(options.keep_gs))) {
    return fail(prefix.preload(options.keep_gs), std::string("no such file; ") + kHowToBuild, kExitRunFailed);
  }
  if (options.keep_gs && !target.i386) {
    if (const Check check = probe_keep_gs(); !check.ok) {
      return fail("--keep-gs", check.detail + ": it does not work here", kExitRunFailed);
    }
  }
  if (prefix.root.find_first_of(": ") != std::string::npos) {
    return fail(prefix.preload(),
                "its path holds a colon or a space, which LD_PRELOAD can't carry; move it",
                kExitRunFailed);
  }
  const std::string preload = preload_entry(prefix, target.i386, options.keep_gs);
  try {
    set_options(options, prefix, preload_entry(prefix, target.i386));
  } catch (const ShimError& error) {
    return fail("--shim " + error.name, error.message, kExitRunFailed);
  }
  set_preload(preload);
  return exec_target(target, program.front());
}

}  // namespace

Subcommand make_run(CLI::App& cr) {
  auto options = std::make_shared<RunOptions>();
  CLI::App* app = cr.add_subcommand("run", "Run a program on libcr");
  app->add_option("--cpus", options->cpus, "Kernel threads that run LWKTs (default: the affinity mask)")
      ->check(check_cpus)->type_name("N");
  app->add_option("--stack-size", options->stack_size,
                  "Stack of a thread that asks for no size; K, M or G may follow (from 16K)")
      ->check(check_stack_size)->type_name("SIZE");
  app->add_option("--shim", options->shims,
                  "Shared object stacked before the system call port, or the name of a shipped shim "
                  "(count); may be repeated, the first one is nearest the program")
      ->allow_extra_args(false)->type_name("PATH");
  app->add_option("--engine", options->engine,
                  "How blocking calls wait: uring, epoll, none (in the kernel, each on a kernel thread), "
                  "or auto, the first of these that works here (default)")
      ->check(check_engine)->type_name("ENGINE");
  app->add_flag("--stats", options->stats, "Print the runtime's counters on standard error at exit");
  app->add_option("--on-deadlock", options->on_deadlock,
                  "When every thread waits on a lock and nothing can wake any: report it with backtraces and "
                  "go on waiting (default), report it and abort, or ignore it")
      ->check(check_on_deadlock)->type_name("WHAT");
  app->add_flag("--small-tls", options->small_tls,
                "Leave little room in each thread for libraries that are loaded later: a waiting "
                "thread then takes one page, but dlopen of one that needs more than some 200 bytes "
                "of fixed thread-local data fails");
  app->add_flag("--keep-gs", options->keep_gs,
                "Leave the %gs register to the program, for one that sets it (Firefox does; libcr says so of a "
                "program that it is wrong for). A call and a switch between threads take longer then");
  app->footer(kFooter);
  return {app, true, kExitRunFailed,
          [options](const std::vector<std::string>& program) { return run(*options, program); }};
}

}  // namespace cr::tool
