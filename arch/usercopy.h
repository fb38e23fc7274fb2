#pragma once
#if defined(__x86_64__)
#include "x86_64/usercopy.h"
#else
#include "x86/usercopy.h"
#endif
