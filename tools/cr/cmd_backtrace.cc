// cr backtrace: says on standard error that a process on libcr stands still, and where each of its
// threads is.
//
// The preload executes `cr backtrace PID ADDRESS` when it has found a deadlock; ADDRESS is that of a
// DeadlockReport in the process's memory (src/sysport/deadlock_report.h), which stands still until
// we end. Nobody types it, so the help of cr does not list it.
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <cxxabi.h>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>

#include "remote_stack.h"
#include "src/sysport/deadlock_report.h"
#include "subcommand.h"

namespace cr::tool {
namespace {

constexpr char kFooter[] = R"(
Started by the preload when it has found a deadlock.

Example:
  cr backtrace 4711 0x7f0000000000

Exit status: 0 if the deadlock was reported, 1 if the process could not be read, 2 for a bad command line.)";

constexpr int kFailed = 1;
constexpr int kMostFrames = 64;
constexpr uint32_t kTidMask = 0x3fffffff;

struct Deadlock {
  DeadlockReport head;
  std::vector<DeadlockThread> threads;
};

std::optional<Deadlock> read_deadlock(const RemoteProcess& process, uint64_t address) {
  Deadlock d;
  if (!process.read(address, &d.head, sizeof d.head) || d.head.version != kDeadlockVersion ||
      d.head.listed > kDeadlockMost) {
    return std::nullopt;
  }
  d.threads.resize(d.head.listed);
  const size_t size = d.threads.size() * sizeof(DeadlockThread);
  if (!process.read(address + sizeof(DeadlockReport), d.threads.data(), size)) return std::nullopt;
  return d;
}

std::string process_name(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/comm");
  std::string name;
  std::getline(file, name);
  return name;
}

std::string name_of(const DeadlockThread& thread, const std::string& of_process) {
  const std::string own(thread.name, strnlen(thread.name, sizeof thread.name));
  return own.empty() ? of_process : own;
}

bool is_thread(const Deadlock& d, uint32_t tid) {
  for (const auto& t : d.threads) {
    if (static_cast<uint32_t>(t.tid) == tid) return true;
  }
  return false;
}

// The owner of glibc's mutex at `address`, if it looks like one: the word holds 1 or 2 and the owner
// stands 8 bytes on, or (robust and PI mutexes) the word holds the owner itself.
std::optional<uint32_t> owner_of(const RemoteProcess& process, const Deadlock& d, uint64_t address) {
  uint32_t words[3];
  if (!process.read(address, words, sizeof words)) return std::nullopt;
  if (is_thread(d, words[0] & kTidMask)) return words[0] & kTidMask;
  if ((words[0] == 1 || words[0] == 2) && is_thread(d, words[2])) return words[2];
  return std::nullopt;
}

std::string what_it_waits_on(const RemoteProcess& process, const Deadlock& d, const DeadlockThread& thread) {
  char text[100];
  for (const auto& other : d.threads) {
    if (other.clear_tid == thread.waits_on && other.tid != thread.tid) {
      snprintf(text, sizeof text, "waits for the end of thread %d", other.tid);
      return text;
    }
  }
  if (const auto owner = owner_of(process, d, thread.waits_on)) {
    snprintf(text, sizeof text, "waits on the mutex at 0x%" PRIx64 ", held by %s %u", thread.waits_on,
             *owner == static_cast<uint32_t>(thread.tid) ? "itself, thread" : "thread", *owner);
    return text;
  }
  snprintf(text, sizeof text, "waits on the word at 0x%" PRIx64, thread.waits_on);
  return text;
}

std::string demangled(const std::string& name) {
  int status;
  const std::unique_ptr<char, void (*)(void*)> text(
      abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status), std::free);
  return status == 0 ? text.get() : name;
}

// Without the runtime's own: the first frame is the call as the program made it.
std::vector<StackFrame> program_stack(RemoteProcess& process, const DeadlockThread& t) {
  auto frames = process.stack({t.pc, t.sp, t.bp, t.bx, t.r12, t.r13, t.r14, t.r15}, kMostFrames);
  size_t own = 0;
  while (own < frames.size() && std::filesystem::path(frames[own].object).filename() == "libcr.so") own++;
  if (own < frames.size()) frames.erase(frames.begin(), frames.begin() + static_cast<ptrdiff_t>(own));
  return frames;
}

void print_stack(const std::vector<StackFrame>& frames) {
  for (size_t i = 0; i < frames.size(); i++) {
    const StackFrame& f = frames[i];
    fprintf(stderr, "libcr:     #%-2zu 0x%016" PRIx64, i, f.pc);
    if (!f.function.empty()) fprintf(stderr, " %s+0x%" PRIx64, demangled(f.function).c_str(), f.offset);
    if (!f.object.empty()) {
      fprintf(stderr, " (%s)", std::filesystem::path(f.object).filename().c_str());
    }
    fputc('\n', stderr);
  }
}

void print(RemoteProcess& process, const Deadlock& d) {
  const std::string name = process_name(d.head.pid);
  fprintf(stderr, "libcr: deadlock: %s of process %d (%s), and nothing in it can wake any; %s\n",
          d.head.total == 1 ? "the only thread waits on a lock" : "all threads wait on locks", d.head.pid,
          name.c_str(), d.head.aborts != 0 ? "aborted" : "going on waiting");
  std::vector<StackFrame> last;
  for (const auto& thread : d.threads) {
    fprintf(stderr, "libcr:   thread %d \"%s\" %s\n", thread.tid, name_of(thread, name).c_str(),
            what_it_waits_on(process, d, thread).c_str());
    auto frames = program_stack(process, thread);
    // Of a crowd that waits at one place the place is said once.
    if (!frames.empty() && frames == last) {
      fprintf(stderr, "libcr:     at the same place\n");
      continue;
    }
    print_stack(frames);
    last = std::move(frames);
  }
  if (d.head.total > d.head.listed) {
    fprintf(stderr, "libcr:   and %u more threads\n", d.head.total - d.head.listed);
  }
}

int backtrace(pid_t pid, uint64_t address) {
  RemoteProcess process(pid);
  const auto deadlock = read_deadlock(process, address);
  if (!deadlock) return kFailed;
  // All of it together: others may write there, too.
  setvbuf(stderr, nullptr, _IOFBF, 1 << 16);
  print(process, *deadlock);
  return fflush(stderr) == 0 ? 0 : kFailed;
}

}  // namespace

Subcommand make_backtrace(CLI::App& cr) {
  struct CommandLine {
    pid_t pid = 0;
    uint64_t address = 0;
  };
  auto line = std::make_shared<CommandLine>();
  CLI::App* app = cr.add_subcommand("backtrace", "Say where the threads of a deadlock are");
  app->group("");
  app->add_option("PID", line->pid, "A process on libcr that stands still")->required();
  app->add_option("ADDRESS", line->address, "Where its description lies")->required();
  app->footer(kFooter);
  return {app, false, kExitUsage,
          [line](const std::vector<std::string>&) { return backtrace(line->pid, line->address); }};
}

}  // namespace cr::tool
