#pragma once
#if defined(__x86_64__)
#include "x86_64/abi.h"
#else
#include "x86/abi.h"
#endif
