// The kernels that mix a batch, of one channel or three: msda_blend_<type of the inputs>_<type of
// the outputs>.
#include "cuda/blend.cuh"

namespace msda {

// Blocks of 256 threads that share a multiprocessor: with four a thread has 64 registers.  Before
// sm_90 those are a few too few for bytes that become bytes or halves, and would be spilled.
template <typename In, typename Out>
constexpr int32_t blocks_of() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
  return sizeof(In) == 1 && sizeof(Out) < 4 ? 3 : 4;
#else
  return 4;
#endif
}

}  // namespace msda

#define MSDA_BLEND(types, In, Out)                                 \
  __global__ void __launch_bounds__(256, blocks_of<In, Out>())     \
      msda_blend_##types(const __grid_constant__ MsdaGpuBlend b) { \
    blend<In, Out>(b);                                             \
  }

extern "C" {
using namespace msda;
MSDA_EACH_TYPES(MSDA_BLEND)
}  // extern "C"
