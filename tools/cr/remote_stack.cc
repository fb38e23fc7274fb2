// libdwfl finds the unwind tables and the symbols by /proc/PID/maps and the files themselves. Its ways to a
// live process would stop it: so memory and registers are given to it by functions here.
#include "remote_stack.h"

#include <dwarf.h>
#include <elf.h>
#include <elfutils/libdwfl.h>
#include <sys/uio.h>

#include <fstream>
#include <sstream>

namespace cr::tool {

struct RemoteProcess::Walk {
  const RemoteProcess* process;
  const Registers* registers;
  std::vector<StackFrame>* frames;
  size_t most;

  void add(Dwfl_Frame* frame, Dwfl* dwfl) {
    Dwarf_Addr pc;
    bool exact = true;
    if (!dwfl_frame_pc(frame, &pc, &exact) || pc == 0) return;
    StackFrame found{pc, "", 0, process->object_at(pc)};
    // A call that is a function's last instruction goes on in the next function.
    const Dwarf_Addr inside = exact ? pc : pc - 1;
    GElf_Off offset;
    GElf_Sym symbol;
    Dwfl_Module* module = dwfl_addrmodule(dwfl, inside);
    const char* name =
        module == nullptr ? nullptr
                          : dwfl_module_addrinfo(module, inside, &offset, &symbol, nullptr, nullptr, nullptr);
    // A stripped library names few of its functions: one that ends before is not meant.
    if (name != nullptr && offset < symbol.st_size) {
      found.function = name;
      found.offset = offset + (pc - inside);
    }
    frames->push_back(found);
  }
};

namespace {

int no_debug_files(Dwfl_Module*, void**, const char*, Dwarf_Addr, const char*, const char*, GElf_Word, char**) {
  return -1;
}

const Dwfl_Callbacks kFiles = {dwfl_linux_proc_find_elf, no_debug_files, nullptr, nullptr};

}  // namespace

// The one thread that libdwfl is told of: the one whose stack is wanted.
struct RemoteProcess::Dwarf {
  static constexpr pid_t kThread = 1;

  static pid_t next_thread(Dwfl*, void* argument, void** thread) {
    if (*thread != nullptr) return 0;
    *thread = argument;
    return kThread;
  }

  static bool read_word(Dwfl*, Dwarf_Addr address, Dwarf_Word* word, void* argument) {
    const auto& process = *static_cast<const RemoteProcess*>(argument);
    *word = 0;
    return process.read(address, word, process.is_32_bit_ ? 4 : 8);
  }

  static bool set_registers(Dwfl_Thread* thread, void* argument) {
    const auto& process = *static_cast<const RemoteProcess*>(argument);
    const Registers& r = *process.walk_->registers;
    // By their numbers in the System V ABI's supplements.
    struct Known {
      int number;
      Dwarf_Word value;
    };
    const std::vector<Known> known =
        process.is_32_bit_ ? std::vector<Known>{{4, r.sp}, {5, r.bp}}
                           : std::vector<Known>{{3, r.bx}, {6, r.bp}, {7, r.sp}, {12, r.r12}, {13, r.r13},
                                                {14, r.r14}, {15, r.r15}};
    for (const Known& each : known) {
      if (!dwfl_thread_state_registers(thread, each.number, 1, &each.value)) return false;
    }
    dwfl_thread_state_register_pc(thread, r.pc);
    return true;
  }

  static int note_frame(Dwfl_Frame* frame, void* argument) {
    auto& walk = *static_cast<Walk*>(argument);
    walk.add(frame, walk.process->dwfl_);
    return walk.frames->size() < walk.most ? DWARF_CB_OK : DWARF_CB_ABORT;
  }

  static constexpr Dwfl_Thread_Callbacks kThreads = {.next_thread = next_thread,
                                                     .get_thread = nullptr,
                                                     .memory_read = read_word,
                                                     .set_initial_registers = set_registers,
                                                     .detach = nullptr,
                                                     .thread_detach = nullptr};
};

RemoteProcess::RemoteProcess(pid_t pid) : pid_(pid), is_32_bit_(false), dwfl_(dwfl_begin(&kFiles)), walk_(nullptr) {
  const std::string place = "/proc/" + std::to_string(pid);
  std::ifstream program(place + "/exe", std::ios::binary);
  char ident[EI_NIDENT] = {};
  program.read(ident, sizeof ident);
  is_32_bit_ = ident[EI_CLASS] == ELFCLASS32;

  std::ifstream maps(place + "/maps");
  for (std::string line; std::getline(maps, line);) {
    std::istringstream words(line);
    uint64_t begin, end;
    char dash;
    std::string skip, path;
    words >> std::hex >> begin >> dash >> end >> skip >> skip >> skip >> skip >> std::ws;
    std::getline(words, path);
    if (path.starts_with('/')) objects_[begin] = {end, path};
  }
  if (dwfl_ == nullptr) return;
  if (dwfl_linux_proc_report(dwfl_, pid) != 0 || dwfl_report_end(dwfl_, nullptr, nullptr) != 0 ||
      !dwfl_attach_state(dwfl_, nullptr, pid, &Dwarf::kThreads, this)) {
    dwfl_end(dwfl_);
    dwfl_ = nullptr;
  }
}

RemoteProcess::~RemoteProcess() {
  if (dwfl_ != nullptr) dwfl_end(dwfl_);
}

bool RemoteProcess::read(uint64_t address, void* to, size_t size) const {
  const iovec local = {to, size};
  const iovec remote = {reinterpret_cast<void*>(address), size};
  return process_vm_readv(pid_, &local, 1, &remote, 1, 0) == static_cast<ssize_t>(size);
}

std::string RemoteProcess::object_at(uint64_t address) const {
  auto after = objects_.upper_bound(address);
  if (after == objects_.begin()) return {};
  const auto& [begin, range] = *--after;
  return address < range.end ? range.path : "";
}

std::vector<StackFrame> RemoteProcess::stack(const Registers& registers, int most) {
  std::vector<StackFrame> frames;
  if (dwfl_ == nullptr) return frames;
  Walk walk{this, &registers, &frames, static_cast<size_t>(most)};
  walk_ = &walk;
  dwfl_getthread_frames(dwfl_, Dwarf::kThread, Dwarf::note_frame, &walk);
  walk_ = nullptr;
  return frames;
}

}  // namespace cr::tool
