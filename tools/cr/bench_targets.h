// The targets' short names, for the tables of cases.
#pragma once

#include "bench_cases.h"

namespace cr::bench {

constexpr Target none{};
constexpr Target at_most(double bound, double factor = 0) {
  return {TargetKind::kAtMost, bound, factor};
}
constexpr Target at_least(double bound) { return {TargetKind::kAtLeast, bound, 0}; }
constexpr Target over_native(double bound) { return {TargetKind::kOverNative, bound, 0}; }
constexpr Target of_native(double bound) { return {TargetKind::kOfNative, bound, 0}; }
constexpr Target times_native(double bound) { return {TargetKind::kTimesNative, bound, 0}; }
constexpr Target where_native_does(double bound) {
  return {TargetKind::kWhereNativeDoes, bound, 0};
}

}  // namespace cr::bench
