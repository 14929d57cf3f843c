// The table of one instruction set.
#include "cpu/simd/kernels.h"

namespace msda::MSDA_ISA {

extern const Kernels kernels;
const Kernels kernels = {blend_rows, blend_pairs, field_values, mask_bits, contrast_sums};

}  // namespace msda::MSDA_ISA
