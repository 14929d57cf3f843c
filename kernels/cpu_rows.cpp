// The row walk of the blend for one instruction set, MSDA_ISA: built three times with different
// -march flags and chosen at run time.  Every value is computed by the expressions of msda/blend.h
// or by their vector twins, so the bits do not depend on the build.  No C++ library code may be
// called here: the linker would be free to take another build's copy of an inline function.
//
// Blocks of whole rows are mixed, normalised, rearranged, converted and stored; of several
// interpolations of a pair each block is done for all of them in turn.  Each source byte is read
// once and each output byte written once, past the caches where the batch is larger than they are.
//  RGB bytes whose weight is one number stay in registers all the way; anything else is
// mixed into floats in the first-level cache first.
#include "cpu_rows.h"

#include <string.h>

#include "cpu_mix.h"
#include "cpu_vector.h"

// MSDA_JOIN(blend_rows, MSDA_ISA) is blend_rows_v3 in the build for v3.
#define MSDA_JOIN_(name, isa) name##_##isa
#define MSDA_JOIN(name, isa) MSDA_JOIN_(name, isa)

namespace msda {
namespace {

// Outputs larger than this are written past the caches: a batch that nobody reads again soon would
// only push out what somebody does.
constexpr int64_t kStreamBytes = 16 << 20;

// --------------------------------------------------------------------------------------- storing

// Copies bytes past the caches.
void stream_bytes(void* to, const void* from, int64_t bytes) {
  char* out = static_cast<char*>(to);
  const char* in = static_cast<const char*>(from);
  const int64_t lead = -reinterpret_cast<intptr_t>(out) & (kVectorBytes - 1);
  if (bytes < lead + kVectorBytes) {
    memcpy(out, in, bytes);
    return;
  }
  memcpy(out, in, lead);
  int64_t at = lead;
  for (; at + kVectorBytes <= bytes; at += kVectorBytes)
    put(reinterpret_cast<float*>(out + at), load(reinterpret_cast<const float*>(in + at)), true);
  memcpy(out + at, in + at, bytes - at);
}

void copy_out(void* to, const void* from, int64_t bytes, bool past) {
  if (past) return stream_bytes(to, from, bytes);
  memcpy(to, from, bytes);
}

// --------------------------------------------------------------------------------- RGB, vectorised

// Where an RGB block comes from, kLanes values at a time and value by value.
struct FromFloats {
  const float* mixed;
  Floats vector(int32_t i) const { return load(mixed + i); }
  float value(int32_t i) const { return mixed[i]; }
};
struct FromOne {
  const uint8_t* source;
  Floats vector(int32_t i) const { return load(source + i); }
  float value(int32_t i) const { return source[i]; }
};
struct FromTwo {
  const uint8_t *own, *partner;
  float weight;
  Floats vector(int32_t i) const {
    const Floats b = load(partner + i);
    return fused(splat(weight), load(own + i) - b, b);
  }
  float value(int32_t i) const { return mix_integers(own[i], partner[i], weight); }
};
// One source in the values [begin, end) of a row, the other around them.
struct FromBox {
  const uint8_t *outer, *inner;
  int32_t begin, end;
  Floats vector(int32_t i) const {
    if (i + kLanes <= begin || i >= end) return load(outer + i);
    if (i >= begin && i + kLanes <= end) return load(inner + i);
    Floats both;
    for (int32_t k = 0; k < kLanes; ++k) both[k] = value(i + k);
    return both;
  }
  float value(int32_t i) const { return (i >= begin && i < end ? inner : outer)[i]; }
};

// Own minus partner.
struct FromDifference {
  const uint8_t *own, *partner;
  Floats vector(int32_t i) const { return load(own + i) - load(partner + i); }
  float value(int32_t i) const { return static_cast<float>(own[i]) - partner[i]; }
};
// What the interpolations of a pair have in common: its difference and the partner, as floats that
// lie as the output does, pixel by pixel or, `pitch` values apart, in planes.
struct FromPair {
  const float *difference, *partner;
  const float* weights;  // of each value, or of each pixel of the planes; null: `weight` throughout
  float weight;
  int32_t pitch;
  Floats vector(int32_t i, int32_t plane = 0) const {
    const int32_t at = plane * pitch + i;
    return fused(weights ? load(weights + i) : splat(weight), load(difference + at),
                 load(partner + at));
  }
  float value(int32_t i, int32_t plane = 0) const {
    const int32_t at = plane * pitch + i;
    return fmaf(weights ? weights[i] : weight, difference[at], partner[at]);
  }
};

// Pixels [0, n) into three planes.
template <typename Out, typename From>
void rgb_to_planes(Out* const* planes, From from, int32_t n, const float* scale, const float* shift,
                   bool past) {
  // Locals: the stores could otherwise change them.
  Out *red = planes[0], *green = planes[1], *blue = planes[2];
  const Floats scales[3] = {splat(scale[0]), splat(scale[1]), splat(scale[2])};
  const Floats shifts[3] = {splat(shift[0]), splat(shift[1]), splat(shift[2])};
  int32_t x = 0;
  for (; x + kLanes <= n; x += kLanes) {
    const Floats a = from.vector(3 * x), b = from.vector(3 * x + kLanes),
                 c = from.vector(3 * x + 2 * kLanes);
    put(red + x, fused(colour<0>(a, b, c), scales[0], shifts[0]), past);
    put(green + x, fused(colour<1>(a, b, c), scales[1], shifts[1]), past);
    put(blue + x, fused(colour<2>(a, b, c), scales[2], shifts[2]), past);
  }
  for (; x < n; ++x) {
    store(red + x, normalise(from.value(3 * x), scale[0], shift[0]));
    store(green + x, normalise(from.value(3 * x + 1), scale[1], shift[1]));
    store(blue + x, normalise(from.value(3 * x + 2), scale[2], shift[2]));
  }
}

template <typename Out>
void rgb_to_planes(Out* const* planes, FromPair from, int32_t n, const float* scale,
                   const float* shift, bool past) {
  for (int32_t c = 0; c < 3; ++c) {
    Out* plane = planes[c];
    const Floats scales = splat(scale[c]), shifts = splat(shift[c]);
    int32_t x = 0;
    for (; x + kLanes <= n; x += kLanes)
      put(plane + x, fused(from.vector(x, c), scales, shifts), past);
    for (; x < n; ++x) store(plane + x, normalise(from.value(x, c), scale[c], shift[c]));
  }
}

// Pixels [0, n), interleaved as they come.
template <typename Out, typename From>
void rgb_to_pixels(Out* out, From from, int32_t n, const float* scale, const float* shift,
                   bool past) {
  Floats scales[3], shifts[3];
  for (int32_t k = 0; k < 3; ++k)
    for (int32_t i = 0; i < kLanes; ++i) {
      scales[k][i] = scale[(k * kLanes + i) % 3];
      shifts[k][i] = shift[(k * kLanes + i) % 3];
    }
  int32_t x = 0;
  for (; x + kLanes <= n; x += kLanes)
    for (int32_t k = 0; k < 3; ++k) {
      const int32_t at = 3 * x + k * kLanes;
      put(out + at, fused(from.vector(at), scales[k], shifts[k]), past);
    }
  for (int32_t i = 3 * x; i < 3 * n; ++i)
    store(out + i, normalise(from.value(i), scale[i % 3], shift[i % 3]));
}

// ------------------------------------------------------------------------------------- the blocks

// A block of a sample, by its number: one or more of its rows.
struct Turned {
  int32_t sample, y, rows;
};

// The batch, the calling thread's memory, and what is the same for every block.
struct Walk {
  const MsdaBlend& b;
  float* mixed;
  char *staged, *mirrored[kMaxSources];
  float scale[3], shift[3];       // of RGB; 1 and -0 change nothing, not even the sign of a zero
  bool past;                      // store past the caches
  mutable int32_t bumps_of = -1;  // whose bumps `along_x` holds: outputs from this one on
  mutable Turned turned[kMaxSources] = {};  // what the blocks in `mirrored` hold
  float *weights, *along_x;

  Walk(const MsdaBlend& blend, char* memory, int64_t value_bytes)
      : b(blend), mixed(reinterpret_cast<float*>(memory)) {
    const int64_t part = scratch_part(b);
    weights = reinterpret_cast<float*>(memory + kScratchParts * part);
    along_x = weights + static_cast<int64_t>(b.width) * (1 + b.channels);
    staged = memory + part;
    for (int32_t k = 0; k < kMaxSources; ++k) mirrored[k] = memory + (2 + k) * part;
    for (int32_t c = 0; c < 3; ++c) {
      scale[c] = b.scale && c < b.channels ? b.scale[c] : 1.0f;
      shift[c] = b.shift && c < b.channels ? b.shift[c] : -0.0f;
    }
    const int64_t sample = static_cast<int64_t>(b.height) * b.width * b.channels;
    past = sample * b.batch * value_bytes >= kStreamBytes;
  }

  const float* bump_along_x(int32_t index) const {
    const int32_t first = index - index % b.interpolations;
    for (int32_t k = 0; k < b.interpolations && bumps_of != first; ++k) {
      const Plan& p = b.plans[first + k];
      for (int32_t x = 0; p.method == kGMix && x < b.width; ++x)
        along_x[static_cast<int64_t>(k) * b.width + x] = bump(p.falloff[2], x - p.point[2]);
    }
    bumps_of = first;
    return along_x + static_cast<int64_t>(index - first) * b.width;
  }

  template <typename In>
  Block<In> block(int32_t index, int32_t y, int32_t rows) const {
    const Plan& p = b.plans[index];
    Block<In> block = {p,       y,       rows,    b.channels,       {}, nullptr, false,
                       nullptr, nullptr, weights, weights + b.width};
    if (p.method == kFMix) block.field = b.fields[index];
    if (p.method == kGMix) block.along_x = bump_along_x(index);
    if (p.method == kResizeMix && p.sources > 1) {
      block.partner = static_cast<const In*>(b.ins[p.source[1]]);
      block.partner_mirrored = b.mirror && b.mirror[p.source[1]];
    }
    const int64_t pitch = static_cast<int64_t>(b.width) * b.channels;
    for (int32_t k = 0; k < p.sources; ++k) {
      const In* from = static_cast<const In*>(b.ins[p.source[k]]) + y * pitch;
      block.sources[k] = from;
      if (!b.mirror || !b.mirror[p.source[k]]) continue;
      In* to = reinterpret_cast<In*>(mirrored[k]);
      block.sources[k] = to;
      Turned& held = turned[k];
      if (held.sample == p.source[k] && held.y == y && held.rows == rows) continue;
      held = {p.source[k], y, rows};
      for (int32_t r = 0; r < rows; ++r)
        mirror_row(to + r * pitch, from + r * pitch, b.width, b.channels);
    }
    return block;
  }
};

template <typename Out, typename From>
void finish_rgb(const Walk& walk, Out* out, From from, int64_t first, int32_t pixels) {
  const MsdaBlend& b = walk.b;
  const int64_t plane = static_cast<int64_t>(b.height) * b.width;
  const bool chw = b.out_layout == kChw;
  Out* direct[3] = {out + first, out + first + plane, out + first + 2 * plane};
  const int32_t vector = kLanes * sizeof(Out);
  const bool fits =
      chw ? aligned(direct[0], vector) && plane % kLanes == 0 : aligned(out + first * 3, vector);
  // Straight to the output, unless vectors past the caches would have to be misaligned.
  if (!walk.past || (fits && sizeof(Out) > 1 && kLanes > 4)) {
    if (chw) return rgb_to_planes(direct, from, pixels, walk.scale, walk.shift, walk.past);
    return rgb_to_pixels(out + first * 3, from, pixels, walk.scale, walk.shift, walk.past);
  }
  Out* staged = reinterpret_cast<Out*>(walk.staged);
  if (!chw) {
    rgb_to_pixels(staged, from, pixels, walk.scale, walk.shift, false);
    return stream_bytes(out + first * 3, staged, 3 * pixels * sizeof(Out));
  }
  Out* planes[3] = {staged, staged + pixels, staged + 2 * pixels};
  rgb_to_planes(planes, from, pixels, walk.scale, walk.shift, false);
  for (int32_t c = 0; c < 3; ++c) stream_bytes(direct[c], planes[c], pixels * sizeof(Out));
}

template <typename Out>
void finish_any(const Walk& walk, Out* out, const float* mixed, int64_t first, int32_t pixels) {
  const MsdaBlend& b = walk.b;
  Out* staged = reinterpret_cast<Out*>(walk.staged);
  const int64_t plane = static_cast<int64_t>(b.height) * b.width;
  const bool chw = b.out_layout == kChw;
  for (int32_t c = 0; c < b.channels; ++c) {
    const float scale = b.scale ? b.scale[c] : 1.0f, shift = b.shift ? b.shift[c] : -0.0f;
    Out* to = chw ? staged : staged + c;
    const int32_t step = chw ? 1 : b.channels;
    for (int32_t x = 0; x < pixels; ++x)
      store(to + x * step, normalise(mixed[x * b.channels + c], scale, shift));
    if (chw) copy_out(out + c * plane + first, staged, pixels * sizeof(Out), walk.past);
  }
  if (!chw)
    copy_out(out + first * b.channels, staged, pixels * b.channels * sizeof(Out), walk.past);
}

// Cutout: what lies in the box becomes 0, after whatever else was done.
template <typename Out>
void clear_box(const MsdaBlend& b, Out* out, const Plan& p, int32_t y, int32_t rows,
               int64_t first) {
  const int64_t plane = static_cast<int64_t>(b.height) * b.width;
  const bool chw = b.out_layout == kChw;
  const int64_t width = (p.x1 - p.x0) * (chw ? 1 : b.channels);
  for (int32_t r = 0; r < rows; ++r) {
    if (!in_interval(y + r, p.y0, p.y1, p.height)) continue;
    const int64_t pixel = first + static_cast<int64_t>(r) * b.width + p.x0;
    for (int32_t c = 0; c < (chw ? b.channels : 1); ++c)
      memset(static_cast<void*>(out + (chw ? c * plane + pixel : pixel * b.channels)), 0,
             width * sizeof(Out));
  }
}

// CutMix as it is drawn: rows are copied from one source and, in the box, from the other.
bool is_cut(const Plan& p) {
  return p.method == kCutMix && p.sources == 2 && p.inside == 0.0f && p.outside == 1.0f;
}

template <typename Out>
void finish_box(const Walk& walk, Out* out, const Block<uint8_t>& block, int64_t first) {
  const Plan& p = block.p;
  for (int32_t r = 0; r < block.rows; ++r, first += p.width) {
    Run runs[3];
    const int32_t count = runs_of_row(runs, p, block.y + r);
    const auto source = [&](int32_t k) {
      return block.sources[runs[k].weight == 0.0f] + r * p.width * 3;
    };
    if (count == 1)
      finish_rgb(walk, out, FromOne{source(0)}, first, p.width);
    else
      finish_rgb(walk, out, FromBox{source(0), source(1), runs[1].begin * 3, runs[1].end * 3},
                 first, p.width);
  }
}

template <typename Out>
void finish(const Walk& walk, Out* out, const Block<uint8_t>& block, int64_t first) {
  const int32_t pixels = block.rows * block.p.width;
  float weight;
  if (walk.b.channels == 3 && block.uniform(&weight)) {
    if (weight == 1.0f || weight == 0.0f)
      return finish_rgb(walk, out, FromOne{block.sources[weight == 0.0f]}, first, pixels);
    return finish_rgb(walk, out, FromTwo{block.sources[0], block.sources[1], weight}, first,
                      pixels);
  }
  if (walk.b.channels == 3 && is_cut(block.p)) return finish_box(walk, out, block, first);
  block.mix(walk.mixed);
  if (walk.b.channels == 3) return finish_rgb(walk, out, FromFloats{walk.mixed}, first, pixels);
  finish_any(walk, out, walk.mixed, first, pixels);
}

template <typename Out>
void finish(const Walk& walk, Out* out, const Block<float>& block, int64_t first) {
  const int32_t pixels = block.rows * block.p.width;
  block.mix(walk.mixed);
  if (walk.b.channels == 3) return finish_rgb(walk, out, FromFloats{walk.mixed}, first, pixels);
  finish_any(walk, out, walk.mixed, first, pixels);
}

template <typename In, typename Out>
void finish_block(const Walk& walk, Out* out, const Block<In>& block, int64_t first) {
  finish(walk, out, block, first);
  if (block.p.method == kCutout) clear_box(walk.b, out, block.p, block.y, block.rows, first);
}

// ---------------------------------------------------------------- several interpolations of a pair

// Whether the interpolations from `first` on are of one pair of RGB images, pixel upon pixel.
bool is_pair(const MsdaBlend& b, int32_t first) {
  const Plan& p = b.plans[first];
  for (int32_t k = 0; k < b.interpolations; ++k) {
    const Plan& q = b.plans[first + k];
    if (q.sources != 2 || q.method == kResizeMix || q.method == kCutout) return false;
    if (q.source[0] != p.source[0] || q.source[1] != p.source[1]) return false;
  }
  return b.interpolations > 1 && b.channels == 3;
}

FromPair pair_of(const Walk& walk, const Block<uint8_t>& block) {
  const int32_t n = block.rows * block.p.width;
  const float ones[3] = {1.0f, 1.0f, 1.0f}, nothing[3] = {-0.0f, -0.0f, -0.0f};
  // Two sources leave the room of the third and the fourth.
  float* to[2] = {reinterpret_cast<float*>(walk.mirrored[2]),
                  reinterpret_cast<float*>(walk.mirrored[3])};
  const FromDifference difference = {block.sources[0], block.sources[1]};
  const FromOne partner = {block.sources[1]};
  if (walk.b.out_layout == kChw) {
    float* planes[2][3];
    for (int32_t i = 0; i < 6; ++i) planes[i / 3][i % 3] = to[i / 3] + i % 3 * n;
    rgb_to_planes(planes[0], difference, n, ones, nothing, false);
    rgb_to_planes(planes[1], partner, n, ones, nothing, false);
  } else {
    rgb_to_pixels(to[0], difference, n, ones, nothing, false);
    rgb_to_pixels(to[1], partner, n, ones, nothing, false);
  }
  return {to[0], to[1], nullptr, 0.0f, n};
}

// Own weights of a block's pixels, or of its values where these lie pixel by pixel.
const float* weights_of(const Walk& walk, const Block<uint8_t>& block) {
  for (int32_t r = 0; r < block.rows; ++r) {
    const int64_t width = block.p.width;
    if (walk.b.out_layout == kChw) {
      block.weights_of_row(walk.mixed + r * width, block.y + r);
    } else {
      block.weights_of_row(block.pixel_weights, block.y + r);
      spread(walk.mixed + r * width * 3, block.pixel_weights, block.p.width, 3);
    }
  }
  return walk.mixed;
}

template <typename Out>
bool finish_interpolations(const Walk& walk, int32_t first, int32_t y, int32_t rows, uint8_t) {
  const MsdaBlend& b = walk.b;
  if (!is_pair(b, first)) return false;
  FromPair from = pair_of(walk, walk.block<uint8_t>(first, y, rows));
  for (int32_t index = first; index < first + b.interpolations; ++index) {
    const Block<uint8_t> block = walk.block<uint8_t>(index, y, rows);
    from.weights = block.uniform(&from.weight) ? nullptr : weights_of(walk, block);
    finish_rgb(walk, static_cast<Out*>(b.outs[index]), from, static_cast<int64_t>(y) * b.width,
               from.pitch);
  }
  return true;
}

template <typename Out>
bool finish_interpolations(const Walk&, int32_t, int32_t, int32_t, float) {
  return false;
}

template <typename In, typename Out>
void rows_of(const MsdaBlend& b, int64_t begin, int64_t end, char* memory) {
  const Walk walk(b, memory, sizeof(Out));
  const int32_t step = rows_per_block(b);
  for (int64_t row = begin; row < end;) {
    const int32_t first = static_cast<int32_t>(row / b.height) * b.interpolations;
    const int32_t y = static_cast<int32_t>(row % b.height);
    int64_t rows = b.height - y;
    if (rows > end - row) rows = end - row;
    if (rows > step) rows = step;
    row += rows;
    if (finish_interpolations<Out>(walk, first, y, static_cast<int32_t>(rows), In{})) continue;
    for (int32_t index = first; index < first + b.interpolations; ++index)
      finish_block(walk, static_cast<Out*>(b.outs[index]),
                   walk.block<In>(index, y, static_cast<int32_t>(rows)),
                   static_cast<int64_t>(y) * b.width);
  }
  if (walk.past) _mm_sfence();
}

// In place: both samples of a pair are mixed, block by block, before either is written.
template <typename Value>
void pairs_of(const MsdaBlend& b, int64_t begin, int64_t end, char* memory) {
  Walk walk(b, memory, sizeof(Value));
  walk.past = false;
  const int32_t step = rows_per_block(b);
  const int64_t pitch = static_cast<int64_t>(b.width) * b.channels;
  char* rest = memory + scratch_bytes(b);
  Value* held[2] = {reinterpret_cast<Value*>(rest),
                    reinterpret_cast<Value*>(rest + scratch_part(b))};
  for (int64_t index = begin; index < end; ++index) {
    const int32_t pair[2] = {static_cast<int32_t>(index), b.pairs[index]};
    if (pair[1] < pair[0]) continue;  // its partner did both
    const int32_t count = pair[1] == pair[0] ? 1 : 2;
    for (int32_t y = 0; y < b.height; y += step) {
      const int32_t rows = b.height - y < step ? b.height - y : step;
      for (int32_t k = 0; k < count; ++k)
        finish_block(walk, held[k], walk.block<Value>(pair[k], y, rows), 0);
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
