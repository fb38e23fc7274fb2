#pragma once
#if defined(__x86_64__)
#include "x86_64/limits.h"
#else
#include "x86/limits.h"
#endif
