// The row walk of the blend for one instruction set, MSDA_ISA: built three times with different
// -march flags and chosen at run time.  Every value is computed by the expressions of msda/blend.h,
// so the bits do not depend on the build; the loops only give the compiler straight lines to
// vectorise.  No C++ library code may be called here: the linker would be free to take another
// build's copy of an inline function.
//
// A block of whole rows is mixed into floats in the first-level cache (HWC order, as it comes),
// then normalised, rearranged, converted and stored past the caches where the batch is larger
// than they are: each source byte is read once and each output byte written once.
#include "cpu_rows.h"

#include <immintrin.h>
#include <string.h>

#include "msda/blend.h"

// MSDA_JOIN(blend_rows, MSDA_ISA) is blend_rows_v3 in the build for v3.
#define MSDA_JOIN_(name, isa) name##_##isa
#define MSDA_JOIN(name, isa) MSDA_JOIN_(name, isa)

namespace msda {
namespace {

#if defined(__AVX512F__)
constexpr int32_t kLanes = 16;
#elif defined(__AVX__)
constexpr int32_t kLanes = 8;
#else
constexpr int32_t kLanes = 4;
#endif
typedef float Floats __attribute__((vector_size(kLanes * 4)));
typedef float UnalignedFloats __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));

// Outputs larger than this are written past the caches: a batch that nobody reads again soon would
// only push out what somebody does.
constexpr int64_t kStreamBytes = 16 << 20;

// ---------------------------------------------------------------------------------------- mixing

template <typename In>
void copy_values(float* __restrict mixed, const In* __restrict source, int32_t n) {
  for (int32_t i = 0; i < n; ++i) mixed[i] = static_cast<float>(source[i]);
}

template <typename In>
void mix_values(float* __restrict mixed, const In* own, const In* partner, float w, int32_t n) {
  if (w == 1.0f) return copy_values(mixed, own, n);
  if (w == 0.0f) return copy_values(mixed, partner, n);
  for (int32_t i = 0; i < n; ++i)
    mixed[i] = mix_two(static_cast<float>(own[i]), static_cast<float>(partner[i]), w, In{});
}

// A share of a row on which the own weight is one number.
struct Run {
  int32_t begin, end;
  float weight;
};

// Cuts row y into runs; returns how many (at most 3: a wrapped box leaves its middle out).
int32_t runs_of_row(Run* runs, const Plan& p, int32_t y) {
  if (p.method != kCutMix || !in_interval(y, p.y0, p.y1, p.height)) {
    runs[0] = {0, p.width, p.method == kNone ? 1.0f : p.outside};
    return 1;
  }
  const bool wraps = p.x1 > p.width;
  const int32_t first = wraps ? p.x1 - p.width : p.x0, second = wraps ? p.x0 : p.x1;
  const float outer = wraps ? p.inside : p.outside, middle = wraps ? p.outside : p.inside;
  runs[0] = {0, first, outer};
  runs[1] = {first, second, middle};
  runs[2] = {second, p.width, outer};
  return 3;
}

// Reverses the pixels of a row.
template <typename In>
void mirror_row(In* __restrict out, const In* __restrict row, int32_t width, int32_t channels) {
  if (channels == 3) {
    for (int32_t x = 0; x < width; ++x)
      for (int32_t c = 0; c < 3; ++c) out[x * 3 + c] = row[(width - 1 - x) * 3 + c];
    return;
  }
  for (int32_t x = 0; x < width; ++x)
    for (int32_t c = 0; c < channels; ++c)
      out[x * channels + c] = row[(width - 1 - x) * channels + c];
}

// One sample's view of the batch.
template <typename In>
struct Sample {
  const MsdaBlend& b;
  const Plan& p;
  In* mirrored[kMaxSources];  // room for a block of each source

  bool flagged(int32_t k) const { return b.mirror && b.mirror[p.source[k]]; }

  // `rows` rows of source k from row y on, in the order in which the output wants them.
  const In* rows_of(int32_t k, int32_t y, int32_t rows) const {
    const int64_t pitch = static_cast<int64_t>(b.width) * b.channels;
    const In* from = static_cast<const In*>(b.ins[p.source[k]]) + y * pitch;
    if (!flagged(k)) return from;
    for (int32_t r = 0; r < rows; ++r)
      mirror_row(mirrored[k] + r * pitch, from + r * pitch, b.width, b.channels);
    return mirrored[k];
  }
};

template <typename In>
void mix_many_values(float* __restrict mixed, const In* const* sources, const Plan& p, int32_t n) {
  for (int32_t i = 0; i < n; ++i) {
    float values[kMaxSources];
    for (int32_t k = 0; k < p.sources; ++k) values[k] = static_cast<float>(sources[k][i]);
    mixed[i] = mix_many(values, p.weight, p.sources);
  }
}

// Mixes rows [y, y + rows) into floats, HWC.
template <typename In>
void mix_block(float* mixed, const Sample<In>& sample, int32_t y, int32_t rows) {
  const Plan& p = sample.p;
  const int32_t channels = sample.b.channels, pitch = sample.b.width * channels;
  const In* sources[kMaxSources] = {};
  for (int32_t k = 0; k < p.sources; ++k) sources[k] = sample.rows_of(k, y, rows);
  if (p.sources == 1) return copy_values(mixed, sources[0], rows * pitch);
  if (p.sources > 2) return mix_many_values(mixed, sources, p, rows * pitch);
  if (p.method == kMixup) return mix_values(mixed, sources[0], sources[1], p.outside, rows * pitch);
  for (int32_t r = 0; r < rows; ++r) {
    Run runs[3];
    const int32_t count = runs_of_row(runs, p, y + r);
    for (int32_t k = 0; k < count; ++k) {
      const int32_t at = r * pitch + runs[k].begin * channels;
      mix_values(mixed + at, sources[0] + at, sources[1] + at, runs[k].weight,
                 (runs[k].end - runs[k].begin) * channels);
    }
  }
}

// --------------------------------------------------------------------------------------- storing

#if defined(__AVX512F__)
void stream(float* to, Floats v) { _mm512_stream_ps(to, (__m512)v); }
#elif defined(__AVX__)
void stream(float* to, Floats v) { _mm256_stream_ps(to, (__m256)v); }
#else
void stream(float* to, Floats v) { _mm_stream_ps(to, (__m128)v); }
#endif

// Copies bytes past the caches.
void stream_bytes(void* to, const void* from, int64_t bytes) {
  char* out = static_cast<char*>(to);
  const char* in = static_cast<const char*>(from);
  const int64_t lead = -reinterpret_cast<intptr_t>(out) & (kLanes * 4 - 1);
  if (bytes < lead + kLanes * 4) {
    memcpy(out, in, bytes);
    return;
  }
  memcpy(out, in, lead);
  int64_t at = lead;
  for (; at + kLanes * 4 <= bytes; at += kLanes * 4)
    stream(reinterpret_cast<float*>(out + at),
           *reinterpret_cast<const UnalignedFloats*>(in + at));
  memcpy(out + at, in + at, bytes - at);
}

// ------------------------------------------------------------------------- normalise and convert

// Normalises one channel of interleaved values, or all of them where channels == step == 1.
template <int32_t kStep>
void normalise_every(float* __restrict out, const float* __restrict mixed, int32_t n, int32_t step,
                     float scale, float shift) {
  const int32_t stride = kStep ? kStep : step;
  for (int32_t i = 0; i < n; ++i) out[i] = normalise(mixed[i * stride], scale, shift);
}

void normalise_plane(float* out, const float* mixed, int32_t pixels, int32_t c,
                     const MsdaBlend& b) {
  const float scale = b.scale ? b.scale[c] : 1.0f, shift = b.shift ? b.shift[c] : 0.0f;
  switch (b.channels) {
    case 1:
      return normalise_every<1>(out, mixed, pixels, 1, scale, shift);
    case 3:
      return normalise_every<3>(out, mixed + c, pixels, 3, scale, shift);
    case 4:
      return normalise_every<4>(out, mixed + c, pixels, 4, scale, shift);
    default:
      return normalise_every<0>(out, mixed + c, pixels, b.channels, scale, shift);
  }
}

template <int32_t kChannels>
void normalise_pixels(float* mixed, int32_t pixels, int32_t channels, const float* scale,
                      const float* shift) {
  const int32_t count = kChannels ? kChannels : channels;
  for (int32_t x = 0; x < pixels; ++x)
    for (int32_t c = 0; c < count; ++c)
      mixed[x * count + c] = normalise(mixed[x * count + c], scale[c], shift[c]);
}

void convert(uint8_t* __restrict out, const float* __restrict values, int32_t n) {
  for (int32_t i = 0; i < n; ++i) out[i] = to_uint8(values[i]);
}

void convert(Bfloat16* __restrict out, const float* __restrict values, int32_t n) {
  for (int32_t i = 0; i < n; ++i) out[i].bits = to_bfloat16(values[i]);
}

void convert(Float16* __restrict out, const float* __restrict values, int32_t n) {
  int32_t i = 0;
#if defined(__F16C__)  // the instruction and to_float16 give the same bits
  for (; i + 8 <= n; i += 8)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i),
                     _mm256_cvtps_ph(_mm256_loadu_ps(values + i), _MM_FROUND_TO_NEAREST_INT));
#endif
  for (; i < n; ++i) out[i].bits = to_float16(values[i]);
}

// ------------------------------------------------------------------------------------- the blocks

struct Scratch {
  float *mixed, *planar;
  char *converted, *mirrored[kMaxSources];
};

Scratch lay_out(const MsdaBlend& b, char* memory) {
  const int64_t part = scratch_bytes(b) / (2 + kMaxSources);
  const auto at = [&](int32_t k) { return memory + k * part; };
  return {reinterpret_cast<float*>(at(0)), reinterpret_cast<float*>(at(1)), at(2),
          {at(2), at(3), at(4), at(5)}};
}

template <typename Out>
void write(Out* out, const float* values, int32_t n, char* converted, bool past_caches) {
  const void* from = values;
  if constexpr (sizeof(Out) != sizeof(float)) {
    convert(reinterpret_cast<Out*>(converted), values, n);
    from = converted;
  }
  const int64_t bytes = static_cast<int64_t>(n) * sizeof(Out);
  if (past_caches)
    stream_bytes(out, from, bytes);
  else
    memcpy(out, from, bytes);
}

// Mixes rows [y, y + rows) of one output into `out`, which is the address of the output's first
// value, or of the block's own first value if `lone` (HWC only).
template <typename In, typename Out>
void blend_block(const MsdaBlend& b, int32_t index, int32_t y, int32_t rows, Out* out,
                 const Scratch& s, bool past_caches, bool lone) {
  Sample<In> sample = {b, b.plans[index], {}};
  for (int32_t k = 0; k < kMaxSources; ++k)
    sample.mirrored[k] = reinterpret_cast<In*>(s.mirrored[k]);
  mix_block(s.mixed, sample, y, rows);
  const int32_t pixels = rows * b.width;
  const int64_t first = lone ? 0 : static_cast<int64_t>(y) * b.width;
  if (b.out_layout == kHwc) {
    if (b.scale && b.channels == 3)
      normalise_pixels<3>(s.mixed, pixels, 3, b.scale, b.shift);
    else if (b.scale)
      normalise_pixels<0>(s.mixed, pixels, b.channels, b.scale, b.shift);
    return write(out + first * b.channels, s.mixed, pixels * b.channels, s.converted, past_caches);
  }
  const int64_t plane = static_cast<int64_t>(b.height) * b.width;
  for (int32_t c = 0; c < b.channels; ++c) {
    normalise_plane(s.planar, s.mixed, pixels, c, b);
    write(out + c * plane + first, s.planar, pixels, s.converted, past_caches);
  }
}

template <typename In, typename Out>
void rows_of(const MsdaBlend& b, int64_t begin, int64_t end, char* memory) {
  const Scratch s = lay_out(b, memory);
  const int64_t values = static_cast<int64_t>(b.height) * b.width * b.channels * b.batch;
  const bool past_caches = values * static_cast<int64_t>(sizeof(Out)) >= kStreamBytes;
  const int32_t step = rows_per_block(b);
  for (int64_t row = begin; row < end;) {
    const int32_t index = static_cast<int32_t>(row / b.height);
    const int32_t y = static_cast<int32_t>(row % b.height);
    int64_t rows = b.height - y;
    if (rows > end - row) rows = end - row;
    if (rows > step) rows = step;
    blend_block<In>(b, index, y, static_cast<int32_t>(rows), static_cast<Out*>(b.outs[index]), s,
                    past_caches, false);
    row += rows;
  }
  if (past_caches) _mm_sfence();
}

// In place: both samples of a pair are mixed, block by block, before either is written.
template <typename Value>
void pairs_of(const MsdaBlend& b, int64_t begin, int64_t end, char* memory) {
  const Scratch s = lay_out(b, memory);
  const int32_t step = rows_per_block(b);
  const int64_t pitch = static_cast<int64_t>(b.width) * b.channels;
  Value* held[2] = {reinterpret_cast<Value*>(memory + scratch_bytes(b)),
                    reinterpret_cast<Value*>(memory + scratch_bytes(b) + step * pitch * 4 + 64)};
  for (int64_t index = begin; index < end; ++index) {
    const int32_t pair[2] = {static_cast<int32_t>(index), b.pairs[index]};
    if (pair[1] < pair[0]) continue;  // its partner did both
    const int32_t count = pair[1] == pair[0] ? 1 : 2;
    for (int32_t y = 0; y < b.height; y += step) {
      const int32_t rows = b.height - y < step ? b.height - y : step;
      for (int32_t k = 0; k < count; ++k)
        blend_block<Value>(b, pair[k], y, rows, held[k], s, false, true);
      for (int32_t k = 0; k < count; ++k)
        memcpy(static_cast<Value*>(b.outs[pair[k]]) + y * pitch, held[k],
               rows * pitch * sizeof(Value));
    }
  }
}

template <typename In>
void rows_from(const MsdaBlend& b, int64_t begin, int64_t end, char* memory) {
  switch (b.out_dtype) {
    case kUint8:
      return rows_of<In, uint8_t>(b, begin, end, memory);
    case kFloat16:
      return rows_of<In, Float16>(b, begin, end, memory);
    case kBfloat16:
      return rows_of<In, Bfloat16>(b, begin, end, memory);
    default:
      return rows_of<In, float>(b, begin, end, memory);
  }
}

}  // namespace

void MSDA_JOIN(blend_rows, MSDA_ISA)(const MsdaBlend& b, int64_t begin, int64_t end,
                                     char* scratch) {
  if (b.in_dtype == kUint8) return rows_from<uint8_t>(b, begin, end, scratch);
  return rows_from<float>(b, begin, end, scratch);
}

void MSDA_JOIN(blend_pairs, MSDA_ISA)(const MsdaBlend& b, int64_t begin, int64_t end,
                                      char* scratch) {
  if (b.in_dtype == kUint8) return pairs_of<uint8_t>(b, begin, end, scratch);
  return pairs_of<float>(b, begin, end, scratch);
}

}  // namespace msda
