// CR_API: a definition that programs and shims may link to. Everything else is built with
// -fvisibility=hidden and stays inside the library.
#pragma once

#define CR_API [[gnu::visibility("default")]]
