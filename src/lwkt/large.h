// CR_LARGE: an array without a first value, of a page or more. The linker puts these behind the small variables
// (src/libcr-text.ld), which then share a few pages: each page that a fork's parent and child both write is copied
// for either, and each page at all is a fault when a program starts.
#pragma once

#define CR_LARGE [[gnu::section(".bss.large")]]
