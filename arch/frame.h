#pragma once
#if defined(__x86_64__)
#include "x86_64/frame.h"
#else
#include "x86/frame.h"
#endif
