// Function bounds and landing pads from .eh_frame and .gcc_except_table (Linux Standard Base,
// "Exception Frames"). A damaged record is left out; what then lies in no function is never
// rewritten, which is the safe side.
#include <algorithm>
#include <map>

#include "src/gate/analyze/elf.h"
#include "src/gate/analyze/reader.h"

namespace cr {
namespace {

struct Cie {
  bool good = false;
  uint8_t fde_encoding = 0;
  uint8_t lsda_encoding = 0xff;
  bool augmented = false;
  bool signal_frame = false;
};

Cie read_cie(Reader r) {
  Cie cie;
  const auto version = r.get<uint8_t>();
  if (version != 1 && version != 3) return cie;
  char augmentation[8] = {};
  size_t n = 0;
  for (char c; (c = static_cast<char>(r.get<uint8_t>())) != 0 && !r.bad();) {
    if (n + 1 == sizeof augmentation) return cie;
    augmentation[n++] = c;
  }
  r.uleb();  // code alignment
  r.sleb();  // data alignment
  if (version == 1) {
    r.get<uint8_t>();
  } else {
    r.uleb();
  }
  if (augmentation[0] == 'z') {
    cie.augmented = true;
    r.uleb();
    for (const char* a = augmentation + 1; *a; a++) {
      switch (*a) {
        case 'R': cie.fde_encoding = r.get<uint8_t>(); break;
        case 'L': cie.lsda_encoding = r.get<uint8_t>(); break;
        case 'P': r.encoded(r.get<uint8_t>() & 0x7f); break;
        case 'S': cie.signal_frame = true; break;
        case 'B': break;
        default: return cie;
      }
    }
  } else if (augmentation[0] != 0) {
    return cie;
  }
  cie.good = !r.bad();
  return cie;
}

// One length-prefixed record, or an empty reader at the terminator and on damage.
Reader next_record(Reader& r) {
  uint64_t length = r.get<uint32_t>();
  if (length == 0xffffffff) length = r.get<uint64_t>();
  if (r.bad() || length == 0) return {{}, 0};
  return r.take(length);
}

}  // namespace

std::vector<FunctionRange> ElfObject::functions() const {
  uint64_t frame = eh_frame_;
  if (frame == 0 && eh_frame_hdr_ != 0) {
    Reader h(at(eh_frame_hdr_), eh_frame_hdr_, is32_);
    h.get<uint8_t>();
    const auto encoding = h.get<uint8_t>();
    h.skip(2);
    frame = h.encoded(encoding);
  }
  std::vector<FunctionRange> found;
  std::map<uint64_t, Cie> cies;
  for (Reader all(at(frame), frame, is32_); !all.done();) {
    Reader rec = next_record(all);
    if (rec.left() == 0) break;
    const uint64_t id_at = rec.addr();
    const auto id = rec.get<uint32_t>();
    if (id == 0) continue;  // a CIE: read when an FDE asks for it
    const uint64_t cie_at = id_at - id;
    auto it = cies.find(cie_at);
    if (it == cies.end()) {
      Reader c(at(cie_at), cie_at, is32_);
      Reader body = next_record(c);
      const bool is_cie = body.get<uint32_t>() == 0;
      it = cies.emplace(cie_at, is_cie ? read_cie(body) : Cie{}).first;
    }
    const Cie& cie = it->second;
    if (!cie.good) continue;
    FunctionRange fn;
    fn.signal_frame = cie.signal_frame;
    fn.start = rec.encoded(cie.fde_encoding);
    fn.end = fn.start + rec.encoded(cie.fde_encoding & 0x0f);
    if (cie.augmented) {
      Reader aug = rec.take(rec.uleb());
      if (cie.lsda_encoding != 0xff && !(cie.lsda_encoding & 0x80))
        fn.lsda = aug.encoded(cie.lsda_encoding);
    }
    if (!rec.bad() && fn.end > fn.start && executable(fn.start)) found.push_back(fn);
  }
  const auto by_start = [](const FunctionRange& a, const FunctionRange& b) {
    return a.start < b.start;
  };
  std::sort(found.begin(), found.end(), by_start);
  const size_t fdes = found.size();
  const auto add = [&](uint64_t start, uint64_t limit) {
    const FunctionRange fn{start, limit, 0, false};
    const auto end = found.begin() + static_cast<std::ptrdiff_t>(fdes);
    const auto next = std::lower_bound(found.begin(), end, fn, by_start);
    const bool clash = (next != end && next->start < fn.end) ||
                       (next != found.begin() && std::prev(next)->end > fn.start);
    if (!clash) found.push_back(fn);
  };
  for (const Symbol& s : symbols_)
    if (s.function && s.size != 0 && s.size <= 1ull << 32) add(s.value, s.value + s.size);
  const std::vector<uint64_t> go = go_functions();
  for (size_t i = 0; i + 1 < go.size(); i++)
    if (go[i] < go[i + 1] && executable(go[i])) add(go[i], go[i + 1]);
  std::sort(found.begin(), found.end(), by_start);
  found.erase(std::unique(found.begin(), found.end(),
                          [](const auto& a, const auto& b) { return a.start == b.start; }),
              found.end());
  for (size_t i = 0; i < found.size(); i++) {
    const uint64_t limit = found[i].start + at(found[i].start).size();
    found[i].end = std::min(found[i].end, limit);
    if (i + 1 < found.size()) found[i].end = std::min(found[i].end, found[i + 1].start);
  }
  return found;
}

std::vector<uint64_t> ElfObject::landing_pads(const FunctionRange& fn) const {
  std::vector<uint64_t> pads;
  if (fn.lsda == 0) return pads;
  Reader r(at(fn.lsda), fn.lsda, is32_);
  const auto start_encoding = r.get<uint8_t>();
  const uint64_t base = start_encoding == 0xff ? fn.start : r.encoded(start_encoding);
  if (r.get<uint8_t>() != 0xff) r.uleb();  // type table
  const auto encoding = static_cast<uint8_t>(r.get<uint8_t>() & 0x0f);
  Reader calls = r.take(r.uleb());
  while (!calls.done()) {
    calls.encoded(encoding);
    calls.encoded(encoding);
    const uint64_t pad = calls.encoded(encoding);
    calls.uleb();
    if (!calls.bad() && pad != 0) pads.push_back(base + pad);
  }
  return pads;
}

}  // namespace cr
