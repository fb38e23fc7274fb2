#pragma once
#if defined(__x86_64__)
#include "x86_64/sigframe.h"
#else
#include "x86/sigframe.h"
#endif
