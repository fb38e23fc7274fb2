// cr bench: the command line of the benchmarks; bench.h has the measuring.
#include <cstdio>
#include <memory>

#include "bench.h"
#include "subcommand.h"

namespace cr::tool {
namespace {

constexpr char kFooter[] = R"(
Each case runs natively and on libcr in alternating rounds; the table shows both, the ratio and the
target. A missed target is a result, not an error.

Examples:
  cr bench --list
  cr bench --only pingpong --rounds 10
  cr bench --only async              # blocking calls: echo servers, file reads, sleeps; 4 minutes
  cr bench --arch i386               # the same by 32-bit programs
  cr bench --json > bench.json

Exit status: 0 every case was measured or had to be skipped, 1 a case could not be measured,
  2 a bad command line, 130 interrupted.)";

int list_cases(bool i386) {
  for (const auto& name : bench_names(i386)) printf("%s\n", name.c_str());
  return 0;
}

}  // namespace

Subcommand make_bench(CLI::App& cr) {
  auto options = std::make_shared<BenchOptions>();
  auto list = std::make_shared<bool>(false);
  auto arch = std::make_shared<std::string>("x86_64");
  CLI::App* app = cr.add_subcommand("bench", "Measure libcr against native");
  app->add_flag("--list", *list, "Print the names of the cases");
  app->add_flag("--json", options->json, "Print JSON, every round included");
  app->add_flag("--quick", options->quick, "Fewer rounds and operations: does everything run?");
  app->add_flag("--progress", options->progress, "Report progress even if standard error is no terminal");
  app->add_option("--only", options->only, "Run this case or group (base, async, posix) alone; may be repeated")
      ->allow_extra_args(false)->type_name("NAME");
  app->add_option("--arch", *arch, "Whose programs: x86_64 (default) or i386")
      ->check(CLI::IsMember({"x86_64", "i386"}))->type_name("ARCH");
  app->add_option("--rounds", options->rounds, "Rounds a case (default: what each case asks for)")
      ->check(CLI::Range(1, 10000))->type_name("N");
  app->add_option("--cpu", options->cpu, "Pin one-cpu cases here (default: the last allowed cpu)")
      ->check(CLI::Range(0, 4095))->type_name("CPU");
  app->footer(kFooter);
  return {app, false, kExitUsage, [options, list, arch](const std::vector<std::string>&) {
            options->i386 = *arch == "i386";
            return *list ? list_cases(options->i386) : run_bench(*options);
          }};
}

}  // namespace cr::tool
