#pragma once
#if defined(__x86_64__)
#include "x86_64/context.h"
#else
#include "x86/context.h"
#endif
