// cr analyze: the site table of one ELF object. The analysis is src/gate/analyze; here are the
// command line and the listing.
//
// The preload executes `cr analyze OBJECT -o TABLE`, outside the program's process, when it meets an
// object that has no table yet (src/gate/cache.cc). Several programs may do that at once; the analyser
// renames a whole table into place.
#include "src/gate/analyze/analyze.h"

#include <algorithm>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <memory>

#include "src/gate/sitetable.h"
#include "subcommand.h"

namespace cr::tool {
namespace {

constexpr char kFooter[] = R"(
Without -o: how many system call instructions each rule takes, and with -v every one of them.
  P    instructions before the trap move to the stub, the trap stays in place
  A    the trap and instructions after it move
  B    instructions before the trap, and the trap, move
  X    int3 over the trap
  skip left untouched (rt_sigreturn)

Examples:
  cr analyze /lib/x86_64-linux-gnu/libc.so.6
  cr analyze -v /lib64/ld-linux-x86-64.so.2
  cr analyze -o libc.sites /lib/x86_64-linux-gnu/libc.so.6

Exit status: 0 if the object was analysed, 1 if not, 2 for a bad command line.)";

constexpr int kFailed = 1;

struct CommandLine {
  std::string object;
  std::string output;
  bool verbose = false;
};

std::string hexadecimal(const std::vector<uint8_t>& bytes) {
  std::string text;
  for (const uint8_t byte : bytes) {
    char digits[3];
    snprintf(digits, sizeof digits, "%02x", byte);
    text += digits;
  }
  return text;
}

const char* rule_name(uint8_t rule) {
  switch (static_cast<SiteRule>(rule)) {
    case SiteRule::kP: return "P";
    case SiteRule::kA: return "A";
    case SiteRule::kB: return "B";
    case SiteRule::kX: return "X";
    case SiteRule::kSkip: return "skip";
  }
  return "?";
}

const char* vector_name(uint8_t vector) {
  switch (static_cast<SiteVector>(vector)) {
    case SiteVector::kNone: return "none";
    case SiteVector::kSse: return "sse";
    case SiteVector::kXsave: return "xsave";
    case SiteVector::kFew: return "few";
  }
  return "?";
}

const char* trap_name(uint8_t kind) {
  switch (static_cast<TrapKind>(kind)) {
    case TrapKind::kSyscall: return "syscall";
    case TrapKind::kInt80: return "int80";
    case TrapKind::kSysenter: return "sysenter";
  }
  return "?";
}

void print_sites(const std::vector<Site>& sites) {
  for (const Site& site : sites) {
    const uint32_t window = std::min(site.pre + 2u + site.post, kMaxWindow);
    printf("%12llx  %-4s  %-8s  %-5s  %s\n", static_cast<unsigned long long>(site.trap),
           rule_name(site.rule), trap_name(site.kind), vector_name(site.vector),
           hexadecimal({site.bytes, site.bytes + window}).c_str());
  }
}

int list_sites(const CommandLine& line) {
  const AnalyzeResult result = analyze_object(line.object);
  printf("%s: build-id %s, %zu sites\n", line.object.c_str(),
         result.build_id.empty() ? "none" : hexadecimal(result.build_id).c_str(), result.sites.size());
  using enum SiteRule;
  for (const SiteRule rule : {kP, kA, kB, kX, kSkip}) {
    const auto count = std::ranges::count(result.sites, static_cast<uint8_t>(rule), &Site::rule);
    printf("  %-4s %5td\n", rule_name(static_cast<uint8_t>(rule)), count);
  }
  if (line.verbose) {
    print_sites(result.sites);
    for (const auto& note : result.notes) printf("note: %s\n", note.c_str());
  }
  return 0;
}

int write_table(const CommandLine& line) {
  // The table is renamed into place, which would replace a device such as /dev/null for good.
  if (std::filesystem::exists(line.output) && !std::filesystem::is_regular_file(line.output)) {
    fprintf(stderr, "cr: %s: not a regular file; give -o a file name\n", line.output.c_str());
    return kFailed;
  }
  return analyze_main(line.object.c_str(), line.output.c_str(), {.verbose = line.verbose});
}

int run_analyze(const CommandLine& line) {
  try {
    return line.output.empty() ? list_sites(line) : write_table(line);
  } catch (const std::exception& error) {
    fprintf(stderr, "cr: %s: %s\n", line.object.c_str(), error.what());
    return kFailed;
  }
}

}  // namespace

Subcommand make_analyze(CLI::App& cr) {
  auto line = std::make_shared<CommandLine>();
  CLI::App* app = cr.add_subcommand("analyze", "Find the system call instructions of an ELF object");
  app->add_option("OBJECT", line->object, "An ELF program or shared object")->required();
  app->add_option("-o", line->output, "Write the site table here")->type_name("FILE");
  app->add_flag("-v", line->verbose, "List every site; with -o, report on standard error");
  app->footer(kFooter);
  return {app, false, kExitUsage,
          [line](const std::vector<std::string>&) { return run_analyze(*line); }};
}

}  // namespace cr::tool
