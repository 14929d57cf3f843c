// A vector of floats, as wide as the instruction set has them, and its twins of whole numbers.
#pragma once
#include "msda/blend.h"

namespace msda {
namespace {

#if defined(__AVX512F__)
constexpr int32_t kLanes = 16;
#elif defined(__AVX2__)
constexpr int32_t kLanes = 8;
#else
constexpr int32_t kLanes = 4;
#endif
constexpr int32_t kVectorBytes = kLanes * 4;

typedef float Floats __attribute__((vector_size(kVectorBytes)));
typedef float LooseFloats __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));
typedef int32_t Ints __attribute__((vector_size(kVectorBytes)));
typedef uint32_t Words __attribute__((vector_size(kVectorBytes)));
typedef uint16_t Halves __attribute__((vector_size(kVectorBytes / 2)));  // of kLanes values

// The 64 bits of kLanes products of words.
struct Product {
  Words high, low;
};

}  // namespace
}  // namespace msda
