#pragma once
#if defined(__x86_64__)
#include "x86_64/percpu.h"
#else
#include "x86/percpu.h"
#endif
