// libunwind-ptrace finds the unwind tables and the symbols by /proc/PID/maps and the files themselves. Its
// accesses by ptrace(2) are replaced: they would have to stop the process.
#include "remote_stack.h"

#include <libunwind-ptrace.h>
#include <sys/uio.h>

#include <fstream>
#include <sstream>

namespace cr::tool {
namespace {

// The accessors' argument is libunwind-ptrace's own, which it also hands to those that are ours. So
// what ours need is here, set by the stack() that runs.
const RemoteProcess* current_process;
const Registers* current_registers;

int no_dynamic_info(unw_addr_space_t, unw_word_t*, void*) { return -UNW_ENOINFO; }

int access_memory(unw_addr_space_t, unw_word_t address, unw_word_t* value, int write, void*) {
  if (write != 0 || !current_process->read(address, value, sizeof *value)) return -UNW_EINVAL;
  return 0;
}

int access_register(unw_addr_space_t, unw_regnum_t number, unw_word_t* value, int write, void*) {
  const Registers& r = *current_registers;
  if (write != 0) return -UNW_EREADONLYREG;
  switch (number) {
    case UNW_X86_64_RIP: *value = r.pc; return 0;
    case UNW_X86_64_RSP: *value = r.sp; return 0;
    case UNW_X86_64_RBP: *value = r.bp; return 0;
    case UNW_X86_64_RBX: *value = r.bx; return 0;
    case UNW_X86_64_R12: *value = r.r12; return 0;
    case UNW_X86_64_R13: *value = r.r13; return 0;
    case UNW_X86_64_R14: *value = r.r14; return 0;
    case UNW_X86_64_R15: *value = r.r15; return 0;
    default: return -UNW_EBADREG;
  }
}

int access_fp_register(unw_addr_space_t, unw_regnum_t, unw_fpreg_t*, int, void*) { return -UNW_EBADREG; }
int resume(unw_addr_space_t, unw_cursor_t*, void*) { return -UNW_EINVAL; }

unw_accessors_t accessors = {
    .find_proc_info = _UPT_find_proc_info,
    .put_unwind_info = _UPT_put_unwind_info,
    .get_dyn_info_list_addr = no_dynamic_info,
    .access_mem = access_memory,
    .access_reg = access_register,
    .access_fpreg = access_fp_register,
    .resume = resume,
    .get_proc_name = _UPT_get_proc_name,
};

}  // namespace

RemoteProcess::RemoteProcess(pid_t pid)
    : pid_(pid), space_(unw_create_addr_space(&accessors, 0)), info_(_UPT_create(pid)) {
  unw_set_caching_policy(static_cast<unw_addr_space_t>(space_), UNW_CACHE_GLOBAL);
  std::ifstream maps("/proc/" + std::to_string(pid) + "/maps");
  for (std::string line; std::getline(maps, line);) {
    std::istringstream words(line);
    uint64_t begin, end;
    char dash;
    std::string skip, path;
    words >> std::hex >> begin >> dash >> end >> skip >> skip >> skip >> skip >> std::ws;
    std::getline(words, path);
    if (path.starts_with('/')) objects_[begin] = {end, path};
  }
}

RemoteProcess::~RemoteProcess() {
  _UPT_destroy(info_);
  unw_destroy_addr_space(static_cast<unw_addr_space_t>(space_));
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
  current_process = this;
  current_registers = &registers;
  unw_cursor_t cursor;
  if (unw_init_remote(&cursor, static_cast<unw_addr_space_t>(space_), info_) != 0) return frames;
  do {
    unw_word_t pc = 0, offset = 0;
    if (unw_get_reg(&cursor, UNW_REG_IP, &pc) != 0 || pc == 0) break;
    char name[512];
    // A stripped library names few of its functions, and the one before would be taken for them: the
    // unwind table knows where each begins.
    unw_proc_info_t info;
    const bool known = unw_get_proc_name(&cursor, name, sizeof name, &offset) == 0 &&
                       unw_get_proc_info(&cursor, &info) == 0 && info.start_ip == pc - offset;
    frames.push_back({pc, known ? name : "", known ? offset : 0, object_at(pc)});
  } while (static_cast<int>(frames.size()) < most && unw_step(&cursor) > 0);
  return frames;
}

}  // namespace cr::tool
