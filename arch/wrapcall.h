#pragma once
#if defined(__x86_64__)
#include "x86_64/wrapcall.h"
#else
#include "x86/wrapcall.h"
#endif
