// A bounds-checked cursor over bytes that lie at an address. Reads past the end give 0 and set
// `bad`, which the caller tests once at the end of a record. Little-endian.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>

namespace cr {

class Reader {
 public:
  // `is32`: addresses have 4 bytes and wrap around.
  Reader(std::span<const uint8_t> bytes, uint64_t addr, bool is32 = false)
      : bytes_(bytes), addr_(addr), is32_(is32) {}

  bool bad() const { return bad_; }
  bool done() const { return bad_ || pos_ == bytes_.size(); }
  uint64_t addr() const { return addr_ + pos_; }
  size_t left() const { return bytes_.size() - pos_; }

  template <class T>
  T get() {
    T v{};
    if (left() < sizeof(T)) {
      bad_ = true;
      return v;
    }
    std::memcpy(&v, bytes_.data() + pos_, sizeof(T));
    pos_ += sizeof(T);
    return v;
  }

  void skip(uint64_t n) {
    if (n > left()) {
      bad_ = true;
    } else {
      pos_ += n;
    }
  }

  // The next n bytes as a reader of their own.
  Reader take(uint64_t n) {
    if (n > left()) {
      bad_ = true;
      return {{}, addr(), is32_};
    }
    Reader r(bytes_.subspan(pos_, n), addr(), is32_);
    pos_ += n;
    return r;
  }

  uint64_t uleb() {
    uint64_t v = 0;
    for (unsigned shift = 0; !bad_; shift += 7) {
      const auto b = get<uint8_t>();
      if (shift < 64) v |= static_cast<uint64_t>(b & 0x7f) << shift;
      if (!(b & 0x80)) break;
    }
    return v;
  }

  int64_t sleb() {
    uint64_t v = 0;
    unsigned shift = 0;
    uint8_t b = 0;
    do {
      b = get<uint8_t>();
      if (shift < 64) v |= static_cast<uint64_t>(b & 0x7f) << shift;
      shift += 7;
    } while (!bad_ && (b & 0x80));
    if (shift < 64 && (b & 0x40)) v |= ~0ull << shift;
    return static_cast<int64_t>(v);
  }

  // A DW_EH_PE encoded value (LSB, .eh_frame). Applications other than absolute and pcrel are
  // never emitted for FDEs on Linux and set `bad`.
  uint64_t encoded(uint8_t encoding) {
    if (encoding == 0xff) return 0;
    const uint64_t here = addr();
    uint64_t v = 0;
    switch (encoding & 0x0f) {
      case 0x00: v = is32_ ? get<uint32_t>() : get<uint64_t>(); break;
      case 0x04:
      case 0x0c: v = get<uint64_t>(); break;
      case 0x01: v = uleb(); break;
      case 0x02: v = get<uint16_t>(); break;
      case 0x03: v = get<uint32_t>(); break;
      case 0x09: v = static_cast<uint64_t>(sleb()); break;
      case 0x0a: v = static_cast<uint64_t>(static_cast<int64_t>(get<int16_t>())); break;
      case 0x0b: v = static_cast<uint64_t>(static_cast<int64_t>(get<int32_t>())); break;
      default: bad_ = true; return 0;
    }
    const uint8_t application = encoding & 0x70;
    if (application == 0x10 && v != 0) v += here;
    if (application != 0x10 && application != 0) bad_ = true;
    return is32_ ? v & 0xffffffff : v;
  }

 private:
  std::span<const uint8_t> bytes_;
  uint64_t addr_;
  size_t pos_ = 0;
  bool is32_;
  bool bad_ = false;
};

}  // namespace cr
