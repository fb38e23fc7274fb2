// cr syscalls: the table of system calls and how each is served, as generated from
// syscalls/syscalls.master when this command was built.
#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <sstream>

#include "json.h"
#include "subcommand.h"
#include "sysdesc.h"

namespace cr::tool {
namespace {

constexpr char kFooter[] = R"(
Served how:
  user   answered in userland
  quick  the same by a shorter way
  async  answered in userland while the process has other threads, else as block
  trap   passed to the kernel, where it does not sleep
  block  passed to the kernel, where it may sleep; the cpu's other threads move on meanwhile
  fold   i386: one number for several calls, each served as itself
  gone   a number that current kernels answer with ENOSYS

Examples:
  cr syscalls --served user
  cr syscalls --json | python3 -m json.tool

Exit status: 0, or 2 for a bad command line.)";

constexpr SysDesc kTable[] = {
#include "sysdesc.inc"
};

const std::map<std::string, Serve> kServedNames = {
    {"user", Serve::user}, {"quick", Serve::quick}, {"async", Serve::async}, {"trap", Serve::trap}, {"block", Serve::block},
    {"whole", Serve::whole}, {"fold", Serve::fold}, {"gone", Serve::gone}};

struct SyscallsOptions {
  bool json = false;
  std::string arch = "x86_64";
  std::string served;
};

// A row of the table as one architecture sees it.
struct Call {
  int number;
  Serve serve;
  const SysDesc* description;
};

std::vector<Call> select_calls(const SyscallsOptions& options) {
  std::vector<Call> calls;
  for (const SysDesc& row : kTable) {
    const Call call = options.arch == "i386" ? Call{row.nr_i386, row.serve_i386, &row}
                                             : Call{row.nr_x86_64, row.serve_x86_64, &row};
    if (call.number < 0) continue;
    if (!options.served.empty() && call.serve != kServedNames.at(options.served)) continue;
    calls.push_back(call);
  }
  std::ranges::sort(calls, {}, &Call::number);
  return calls;
}

std::string served_name(Serve serve) {
  for (const auto& [name, value] : kServedNames) {
    if (value == serve) return name;
  }
  return "none";
}

// "const char *path": the master's types end with their stars.
std::string declaration(const char* type, const char* name) {
  const std::string text = type;
  return text + (text.ends_with('*') ? "" : " ") + name;
}

std::string argument_list(const SysDesc& row) {
  std::string list;
  for (int i = 0; i < row.nargs; ++i) {
    if (i > 0) list += ", ";
    list += declaration(row.args[i].type, row.args[i].name);
  }
  return list;
}

void print_text(const std::vector<Call>& calls) {
  for (const Call& call : calls) {
    printf("%4d  %-5s  %s(%s)\n", call.number, served_name(call.serve).c_str(), call.description->name,
           argument_list(*call.description).c_str());
  }
}

std::string json_arguments(const SysDesc& row) {
  std::string list;
  for (int i = 0; i < row.nargs; ++i) {
    if (i > 0) list += ", ";
    list += "{\"type\": " + json_string(row.args[i].type);
    list += ", \"name\": " + json_string(row.args[i].name) + "}";
  }
  return list;
}

std::string json_wrappers(const SysDesc& row) {
  std::istringstream symbols(row.wrappers);
  std::string list;
  for (std::string symbol; symbols >> symbol;) {
    if (!list.empty()) list += ", ";
    list += json_string(symbol);
  }
  return list;
}

void print_json(const std::vector<Call>& calls) {
  printf("[");
  const char* separator = "\n";
  for (const Call& call : calls) {
    const SysDesc& row = *call.description;
    printf("%s  {\"number\": %d, \"name\": %s, \"served\": %s, \"returns\": %s, \"arguments\": [%s], "
           "\"wrappers\": [%s]}",
           separator, call.number, json_string(row.name).c_str(),
           json_string(served_name(call.serve)).c_str(), json_string(row.ret).c_str(),
           json_arguments(row).c_str(), json_wrappers(row).c_str());
    separator = ",\n";
  }
  printf("\n]\n");
}

int run_syscalls(const SyscallsOptions& options) {
  (options.json ? print_json : print_text)(select_calls(options));
  return 0;
}

}  // namespace

Subcommand make_syscalls(CLI::App& cr) {
  auto options = std::make_shared<SyscallsOptions>();
  CLI::App* app = cr.add_subcommand("syscalls", "List the system calls and how each is served");
  app->add_flag("--json", options->json, "Print JSON, with return types and exported wrappers");
  app->add_option("--arch", options->arch, "x86_64 (default) or i386")
      ->check(CLI::IsMember({"x86_64", "i386"}))->type_name("ARCH");
  app->add_option("--served", options->served, "Only calls served so: user, quick, async, trap, block, whole, fold or gone")
      ->check(CLI::IsMember({"user", "quick", "async", "trap", "block", "whole", "fold", "gone"}))->type_name("HOW");
  app->footer(kFooter);
  return {app, false, kExitUsage,
          [options](const std::vector<std::string>&) { return run_syscalls(*options); }};
}

}  // namespace cr::tool
