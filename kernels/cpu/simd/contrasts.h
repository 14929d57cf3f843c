// Saliency on the CPU (contrasts.cpp for each instruction set, saliency.cpp for all).
#pragma once
#include "msda/saliency.h"

namespace msda {

// What one thread works in for images of one size.
struct SalientScratch {
  int32_t height, width;
  uint8_t *grey, *other;               // (H, W) each
  uint32_t* integral;                  // (H + 1, W + 1)
  uint16_t *brighter, *darker;         // (H, W) each: sums over the squares
  float* columns;                      // (kSquares, W): columns of the square around each pixel
  uint32_t* band;                      // 2 kGreatestReach + W + 1: column sums of a square's rows
  int32_t *row_brighter, *row_darker;  // (W,) each
  int32_t most_brighter, most_darker;  // of the image
};

// From an image, which is either bytes or floats, to the sums of contrasts and their greatest
// values.
using SalientSums = void (*)(SalientScratch& scratch, const uint8_t* bytes, const float* floats,
                             int32_t channels);
void salient_sums_x86_64(SalientScratch&, const uint8_t*, const float*, int32_t);
void salient_sums_v3(SalientScratch&, const uint8_t*, const float*, int32_t);
void salient_sums_v4(SalientScratch&, const uint8_t*, const float*, int32_t);
void salient_sums_v4_vbmi(SalientScratch&, const uint8_t*, const float*, int32_t);

}  // namespace msda
