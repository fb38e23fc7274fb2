#pragma once
#if defined(__x86_64__)
#include "x86_64/rawcall.h"
#else
#include "x86/rawcall.h"
#endif
