// Saliency maps and their peaks.  Each thread takes whole images.
#include <cstring>
#include <vector>

#include "cpu/closed.h"
#include "cpu/isa.h"
#include "cpu/threads.h"

namespace msda {
namespace {

constexpr int32_t kMostSum = kSquares * 255;

// A thread's memory, kept between calls.
class Memory {
 public:
  ContrastScratch& fit(int32_t height, int32_t width) {
    if (height == scratch_.height && width == scratch_.width) return scratch_;
    const int64_t pixels = int64_t{height} * width;
    scratch_ = {};  // its old pointers are void, even if memory is refused below
    bytes_.resize(2 * pixels);
    sums_.resize(2 * pixels);
    integral_.resize((int64_t{height} + 1) * (int64_t{width} + 1));
    columns_.resize(int64_t{kSquares} * width);
    band_.resize(2 * kGreatestReach + int64_t{width} + 1);
    rows_.resize(2 * int64_t{width});
    scratch_ = {height,
                width,
                bytes_.data(),
                bytes_.data() + pixels,
                integral_.data(),
                sums_.data(),
                sums_.data() + pixels,
                columns_.data(),
                band_.data(),
                rows_.data(),
                rows_.data() + width,
                0,
                0};
    return scratch_;
  }

 private:
  std::vector<uint8_t> bytes_;
  std::vector<uint16_t> sums_;
  std::vector<uint32_t> integral_, band_;
  std::vector<float> columns_;
  std::vector<int32_t> rows_;
  ContrastScratch scratch_ = {};
};

// Writes the peak and, where one is asked for, the map, both flipped where the image is.
void put_out(const MsdaSaliency& s, int64_t i, const uint8_t* map, int64_t peak) {
  const bool flipped = s.mirror && s.mirror[i];
  const int32_t x = static_cast<int32_t>(peak % s.width);
  s.peaks[2 * i] = static_cast<int32_t>(peak / s.width);
  s.peaks[2 * i + 1] = flipped ? s.width - 1 - x : x;
  if (!s.maps) return;
  uint8_t* out = static_cast<uint8_t*>(s.maps[i]);
  for (int32_t y = 0; y < s.height; ++y)
    for (int32_t from = 0; from < s.width; ++from)
      out[int64_t{y} * s.width + (flipped ? s.width - 1 - from : from)] =
          map[int64_t{y} * s.width + from];
}

// Makes the map, in place of the image's grey values, and returns its peak.  Shares are looked up,
// because there are few different sums.
int64_t make_map(ContrastScratch s) {
  uint16_t brighter[kMostSum + 1], darker[kMostSum + 1];
  for (int32_t k = 0; k <= s.most_brighter; ++k)
    brighter[k] = static_cast<uint16_t>(share_of(k, s.most_brighter));
  for (int32_t k = 0; k <= s.most_darker; ++k)
    darker[k] = static_cast<uint16_t>(share_of(k, s.most_darker));
  const int64_t pixels = int64_t{s.height} * s.width;
  uint8_t* map = s.grey;
  for (int64_t i = 0; i < pixels; ++i)
    map[i] = static_cast<uint8_t>(least(brighter[s.brighter[i]] + darker[s.darker[i]], 255));
  uint8_t most = 0;
  for (int64_t i = 0; i < pixels; ++i) most = map[i] > most ? map[i] : most;
  return static_cast<const uint8_t*>(std::memchr(map, most, pixels)) - map;
}

void saliency_of(const MsdaSaliency& s, int64_t i) {
  static thread_local Memory memory;
  ContrastScratch& scratch = memory.fit(s.height, s.width);
  const auto sum = kernels_of(s.isa).contrast_sums;
  if (s.in_dtype == kUint8)
    sum(scratch, static_cast<const uint8_t*>(s.ins[i]), nullptr, s.channels);
  else
    sum(scratch, nullptr, static_cast<const float*>(s.ins[i]), s.channels);
  const int64_t peak = make_map(scratch);
  put_out(s, i, scratch.grey, peak);
}

}  // namespace
}  // namespace msda

extern "C" {
using namespace msda;

int32_t msda_saliency(const MsdaSaliency* saliency) {
  const auto task = [](const void* job, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) saliency_of(*static_cast<const MsdaSaliency*>(job), i);
  };
  return closed([=] { parallel_for(saliency->batch, 1, saliency->threads, task, saliency); });
}

int64_t msda_saliency_block_bytes(int32_t height, int32_t width) {
  return saliency_block_bytes(height, width);
}
}
