#include "cpu/isa.h"

#include <algorithm>

namespace msda {

// Each is defined by one build of simd/kernels.cpp.
#define MSDA_BUILD(name)        \
  namespace name {              \
  extern const Kernels kernels; \
  }
#if defined(__x86_64__)
MSDA_BUILD(x86_64)
MSDA_BUILD(v3)
MSDA_BUILD(v4)
MSDA_BUILD(v4_vbmi)
#else
MSDA_BUILD(neon)
#endif

namespace {

#if defined(__x86_64__)
const Isa kIsas[] = {{"x86-64", x86_64::kernels},
                     {"x86-64-v3", v3::kernels},
                     {"x86-64-v4", v4::kernels},
                     {"x86-64-v4-vbmi", v4_vbmi::kernels}};

int32_t best_isa() {
  static const int32_t best = [] {
    __builtin_cpu_init();
    const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
                    __builtin_cpu_supports("f16c") && __builtin_cpu_supports("lzcnt") &&
                    __builtin_cpu_supports("movbe");
    const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                    __builtin_cpu_supports("avx512vl");
    return v4 && __builtin_cpu_supports("avx512vbmi") ? 3 : v4 ? 2 : v3 ? 1 : 0;
  }();
  return best;
}
#else
// Every aarch64 machine has NEON, so that nothing is asked of it.
const Isa kIsas[] = {{"aarch64-neon", neon::kernels}};

int32_t best_isa() { return 0; }
#endif

}  // namespace

const Isa& isa_of(int32_t wanted) {
  return kIsas[wanted < 0 ? best_isa() : std::min(wanted, best_isa())];
}

}  // namespace msda

extern "C" const char* msda_isa_name(int32_t isa) {
  return isa >= 0 && isa <= msda::best_isa() ? msda::kIsas[isa].name : nullptr;
}
