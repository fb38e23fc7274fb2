// Counts of nanoseconds in classes 1/32 wide of their power of two: a percentile is right to 3 %.
#pragma once

#include <stdint.h>
#include <string.h>

enum { HISTOGRAM_PARTS = 32, HISTOGRAM_CLASSES = 60 * HISTOGRAM_PARTS };

struct histogram {
  uint64_t total, largest;
  uint64_t counts[HISTOGRAM_CLASSES];
};

static inline void histogram_clear(struct histogram *histogram) {
  memset(histogram, 0, sizeof(*histogram));
}

static inline unsigned histogram_class(uint64_t value) {
  if (value < HISTOGRAM_PARTS) {
    return (unsigned)value;
  }
  const unsigned shift = 63 - 5 - (unsigned)__builtin_clzll(value);  // keeps the top 6 bits
  return (shift + 1) * HISTOGRAM_PARTS + (unsigned)(value >> shift) - HISTOGRAM_PARTS;
}

// The least value of a class.
static inline uint64_t histogram_value(unsigned class_index) {
  if (class_index < HISTOGRAM_PARTS) {
    return class_index;
  }
  const unsigned shift = class_index / HISTOGRAM_PARTS - 1;
  return (uint64_t)(class_index % HISTOGRAM_PARTS + HISTOGRAM_PARTS) << shift;
}

static inline void histogram_add(struct histogram *histogram, uint64_t value) {
  histogram->total++;
  histogram->counts[histogram_class(value)]++;
  if (value > histogram->largest) {
    histogram->largest = value;
  }
}

// The same for many threads at once; `largest` is not kept.
static inline void histogram_add_shared(struct histogram *histogram, uint64_t value) {
  __atomic_fetch_add(&histogram->total, 1, __ATOMIC_RELAXED);
  __atomic_fetch_add(&histogram->counts[histogram_class(value)], 1, __ATOMIC_RELAXED);
}

// The value that the given part of all (0.99) does not exceed; 0 when there is none.
static inline uint64_t histogram_at(const struct histogram *histogram, double part) {
  const double wanted = part * (double)histogram->total;
  uint64_t below = 0;
  for (unsigned i = 0; i < HISTOGRAM_CLASSES; i++) {
    below += histogram->counts[i];
    if (below > 0 && (double)below >= wanted) {
      return histogram_value(i);
    }
  }
  return histogram->largest;
}
