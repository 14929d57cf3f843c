// Softened edges of FMix's masks on the CPU: what msda/field/soft.h does, with a radix sort.
#pragma once
#include <cstdint>

namespace msda {

// Weights of a mask whose edge is softened: 1 for the pixels of the bits `before`, and from 1 to 0
// for the 2 `soft` ones that `until` has besides.
void soften(float* weights, const float* values, int64_t pixels, const uint32_t* before,
            const uint32_t* until, int64_t soft);

}  // namespace msda
