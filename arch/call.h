#pragma once
#if defined(__x86_64__)
#include "x86_64/call.h"
#else
#include "x86/call.h"
#endif
