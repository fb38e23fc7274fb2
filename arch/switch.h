#pragma once
#if defined(__x86_64__)
#include "x86_64/switch.h"
#else
#include "x86/switch.h"
#endif
