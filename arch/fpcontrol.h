// The control words of floating point as the switch keeps them on a parked stack: MXCSR in the low half, the x87 control
// word above it.
#pragma once

#include <stdint.h>

namespace cr {

inline void fpcontrol_save(uint64_t* at) {
  *at = 0;
  asm("stmxcsr (%1)\n\tfnstcw 4(%1)" : "+m"(*at) : "r"(at));
}

}  // namespace cr
