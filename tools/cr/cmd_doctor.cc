// cr doctor: what this kernel and machine allow, and what libcr does without.
#include <algorithm>
#include <cstdio>
#include <memory>

#include "json.h"
#include "prefix.h"
#include "probe.h"
#include "subcommand.h"

namespace cr::tool {
namespace {

constexpr char kFooter[] = R"(
One line for each thing: ok or no, its name, what was found and, after "no", what libcr does
without it. Only kernel, glibc, text-rewriting and preload are indispensable.

Examples:
  cr doctor
  cr doctor --json | python3 -m json.tool

Exit status: 0 if libcr can run here, 1 if not (the last line says what decides).)";

void print_text(const std::vector<Check>& checks, const Check* decider) {
  for (const auto& check : checks) {
    printf("%-3s %-23s %s\n", check.ok ? "ok" : "no", check.name.c_str(),
           (check.ok ? check.detail : check.detail + "; " + check.fallback).c_str());
  }
  if (decider) {
    printf("libcr can't run here: %s\n", decider->name.c_str());
  } else {
    printf("libcr can run here\n");
  }
}

void print_json(const std::vector<Check>& checks, const Check* decider) {
  printf("{\"version\": %s, \"can_run\": %s, \"decided_by\": %s, \"checks\": [",
         json_string(CR_VERSION).c_str(), decider ? "false" : "true",
         decider ? json_string(decider->name).c_str() : "null");
  const char* separator = "\n";
  for (const auto& check : checks) {
    printf("%s  {\"name\": %s, \"ok\": %s, \"required\": %s, \"detail\": %s, \"fallback\": %s}", separator,
           json_string(check.name).c_str(), check.ok ? "true" : "false",
           check.required ? "true" : "false", json_string(check.detail).c_str(),
           json_string(check.fallback).c_str());
    separator = ",\n";
  }
  printf("\n]}\n");
}

int run_doctor(bool json) {
  std::vector<Check> checks = probe_features();
  std::ranges::move(probe_setup(find_prefix()), std::back_inserter(checks));
  const auto failed =
      std::ranges::find_if(checks, [](const Check& check) { return check.required && !check.ok; });
  const Check* decider = failed == checks.end() ? nullptr : &*failed;
  (json ? print_json : print_text)(checks, decider);
  return decider ? 1 : 0;
}

}  // namespace

Subcommand make_doctor(CLI::App& cr) {
  auto json = std::make_shared<bool>(false);
  CLI::App* app = cr.add_subcommand("doctor", "What this kernel and machine allow");
  app->add_flag("--json", *json, "Print JSON");
  app->footer(kFooter);
  return {app, false, kExitUsage, [json](const std::vector<std::string>&) { return run_doctor(*json); }};
}

}  // namespace cr::tool
