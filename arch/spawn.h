#pragma once
#if defined(__x86_64__)
#include "x86_64/spawn.h"
#else
#include "x86/spawn.h"
#endif
