// The row walk of the blend for one instruction set, MSDA_ISA: built three times with different
// -march flags and chosen at run time.  Every value is computed by the expressions of msda/blend.h
// or by their vector twins, so the bits do not depend on the build.  No C++ library code may be
// called here: the linker would be free to take another build's copy of an inline function.
//
// Blocks of whole rows are mixed, normalised, rearranged, converted and stored; of several
// interpolations of a pair each block is done for all of them in turn.  Each source byte is read
// once and each output byte written once, past the caches where the batch is larger than they are.
// RGB bytes of two sources stay in registers all the way; anything else is mixed into floats in the
// first-level cache first.
#include "cpu_rows.h"

#include <string.h>

#include "cpu_mix.h"
#include "cpu_rgb.h"
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
  // Of the values of kLanes RGB pixels; 1 and -0 change nothing, not even the sign of a zero.
  float scale[3 * kLanes], shift[3 * kLanes];
  bool past;                                // store past the caches
  mutable int32_t bumped = -1;              // whose bumps `along` holds: outputs from this one on
  mutable Turned turned[kMaxSources] = {};  // what the blocks in `mirrored` hold
  float *weights, *along;

  Walk(const MsdaBlend& blend, char* memory, int64_t value_bytes)
      : b(blend), mixed(reinterpret_cast<float*>(memory)) {
    const int64_t part = scratch_part(b);
    weights = reinterpret_cast<float*>(memory + kScratchParts * part);
    along = weights + static_cast<int64_t>(b.width) * (1 + b.channels);
    staged = memory + part;
    for (int32_t k = 0; k < kMaxSources; ++k) mirrored[k] = memory + (2 + k) * part;
    for (int32_t i = 0; i < 3 * kLanes; ++i) {
      scale[i] = b.scale && b.channels == 3 ? b.scale[i % 3] : 1.0f;
      shift[i] = b.shift && b.channels == 3 ? b.shift[i % 3] : -0.0f;
    }
    const int64_t sample = static_cast<int64_t>(b.height) * b.width * b.channels;
    past = sample * b.batch * value_bytes >= kStreamBytes;
  }

  // The bumps of an output along x and, behind them, along y.
  const float* bumps_of(int32_t index) const {
    const int32_t first = index - index % b.interpolations;
    const int64_t each = static_cast<int64_t>(b.width) + b.height;
    for (int32_t k = 0; k < b.interpolations && bumped != first; ++k) {
      const Plan& p = b.plans[first + k];
      if (p.method != kGMix) continue;
      bumps(along + k * each, p.falloff[2], p.point[2], b.width);
      bumps(along + k * each + b.width, p.falloff[1], p.point[1], b.height);
    }
    bumped = first;
    return along + (index - first) * each;
  }

  template <typename In>
  Block<In> block(int32_t index, int32_t y, int32_t rows) const {
    const Plan& p = b.plans[index];
    Block<In> block = {p,       y,       rows,    b.channels, {},
                       nullptr, nullptr, nullptr, weights,    weights + b.width};
    if (p.method == kFMix) block.field = b.fields[index];
    if (p.method == kGMix) {
      block.along_x = bumps_of(index);
      block.along_y = block.along_x + b.width;
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
    if (p.method == kResizeMix && p.sources == 2) block.sources[1] = shrunk(block);
    return block;
  }

  // The rows of the partner with all of it shrunk into the box.
  template <typename In>
  const In* shrunk(const Block<In>& block) const {
    const Plan& p = block.p;
    const int64_t pitch = static_cast<int64_t>(b.width) * b.channels;
    const In* whole = static_cast<const In*>(b.ins[p.source[1]]);
    In* to = reinterpret_cast<In*>(mirrored[1]);
    int32_t* columns = reinterpret_cast<int32_t*>(weights);
    columns_shrunk(columns, p, b.mirror && b.mirror[p.source[1]]);
    for (int32_t r = 0; r < block.rows; ++r, to += pitch) {
      const In* row = block.sources[1] + r * pitch;
      if (row != to && p.outside != 1.0f) memcpy(to, row, pitch * sizeof(In));
      if (!in_interval(block.y + r, p.y0, p.y1, p.height)) continue;
      const int64_t from = shrunk_from(block.y + r, p.y0, p.falloff[1], p.height);
      gather_pixels(to + static_cast<int64_t>(p.x0) * b.channels, whole + from * pitch, columns,
                    p.x1 - p.x0, b.channels);
    }
    turned[1] = {};  // it holds no mirrored block any more
    return reinterpret_cast<In*>(mirrored[1]);
  }
};

// Where the RGB values of a block go: straight to the output, unless vectors past the caches would
// have to be misaligned, else to the cache first.  Three planes, or pixels at to[0].
template <typename Out>
struct Target {
  Out *to[3], *direct[3];
  bool staged, past;
};

// `alone`: pixels that are put at a time, all of them or a row.
template <typename Out>
Target<Out> target_of(const Walk& walk, Out* out, int64_t first, int32_t pixels, int32_t alone) {
  const MsdaBlend& b = walk.b;
  const int64_t plane = static_cast<int64_t>(b.height) * b.width;
  const int32_t vector = kLanes * sizeof(Out);
  Target<Out> t = {};
  bool fits = alone == pixels || alone % kLanes == 0;
  if (b.out_layout == kChw) {
    for (int32_t c = 0; c < 3; ++c) t.direct[c] = out + first + c * plane;
    fits = fits && aligned(t.direct[0], vector) && plane % kLanes == 0;
  } else {
    t.direct[0] = out + first * 3;
    fits = fits && aligned(t.direct[0], vector);
  }
  t.staged = walk.past && !(fits && sizeof(Out) > 1 && kLanes > 4);
  t.past = walk.past && !t.staged;
  Out* staged = reinterpret_cast<Out*>(walk.staged);
  for (int32_t c = 0; c < 3; ++c) t.to[c] = t.staged ? staged + c * pixels : t.direct[c];
  return t;
}

// Pixels [at, at + n) of the block.
template <typename Out, typename From>
void put_rgb(const Walk& walk, const Target<Out>& t, From from, int32_t at, int32_t n) {
  if (walk.b.out_layout != kChw)
    return rgb_to_pixels(t.to[0] + 3 * at, from, n, walk.scale, walk.shift, t.past);
  Out* planes[3] = {t.to[0] + at, t.to[1] + at, t.to[2] + at};
  rgb_to_planes(planes, from, n, walk.scale, walk.shift, t.past);
}

template <typename Out>
void send(const Walk& walk, const Target<Out>& t, int32_t pixels) {
  if (!t.staged) return;
  if (walk.b.out_layout != kChw)
    return stream_bytes(t.direct[0], t.to[0], 3 * pixels * sizeof(Out));
  for (int32_t c = 0; c < 3; ++c) stream_bytes(t.direct[c], t.to[c], pixels * sizeof(Out));
}

template <typename Out, typename From>
void finish_rgb(const Walk& walk, Out* out, From from, int64_t first, int32_t pixels) {
  const Target<Out> target = target_of(walk, out, first, pixels, pixels);
  put_rgb(walk, target, from, 0, pixels);
  send(walk, target, pixels);
}

// One channel.
template <typename Out>
void finish_plane(const Walk& walk, Out* out, const float* mixed, int64_t first, int32_t n) {
  const MsdaBlend& b = walk.b;
  const float scale = b.scale ? b.scale[0] : 1.0f, shift = b.shift ? b.shift[0] : -0.0f;
  Out* to = walk.past ? reinterpret_cast<Out*>(walk.staged) : out + first;
  int32_t x = 0;
  for (; x + kLanes <= n; x += kLanes)
    put(to + x, fused(load(mixed + x), splat(scale), splat(shift)), false);
  for (; x < n; ++x) store(to + x, normalise(mixed[x], scale, shift));
  if (walk.past) stream_bytes(out + first, to, n * sizeof(Out));
}

template <typename Out>
void finish_any(const Walk& walk, Out* out, const float* mixed, int64_t first, int32_t pixels) {
  const MsdaBlend& b = walk.b;
  if (b.channels == 1) return finish_plane(walk, out, mixed, first, pixels);
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

// Boxes as most are drawn: rows are copied from one source and, in the box, from the other.
bool is_cut(const Plan& p) {
  const bool cuts = p.method == kCutMix || p.method == kSaliencyMix || p.method == kResizeMix;
  return cuts && p.sources == 2 && p.inside == 0.0f && p.outside == 1.0f;
}

template <typename Out>
void finish_box(const Walk& walk, Out* out, const Block<uint8_t>& block, int64_t first) {
  const Plan& p = block.p;
  const int32_t pixels = block.rows * p.width;
  const Target<Out> target = target_of(walk, out, first, pixels, p.width);
  for (int32_t r = 0; r < block.rows; ++r) {
    Run runs[3];
    const int32_t count = runs_of_row(runs, p, block.y + r), at = r * p.width;
    const auto source = [&](int32_t k) { return block.sources[runs[k].weight == 0.0f] + at * 3; };
    if (count == 1) {
      put_rgb(walk, target, FromOne{source(0)}, at, p.width);
    } else {
      const Box box = {runs[1].begin, runs[1].end};
      put_rgb(walk, target, FromEither<Box>{source(0), source(1), box}, at, p.width);
    }
  }
  send(walk, target, pixels);
}

template <typename Out>
void finish_rgb_bytes(const Walk& walk, Out* out, const Block<uint8_t>& block, int64_t first) {
  const Plan& p = block.p;
  const int32_t pixels = block.rows * p.width;
  const uint8_t* const* sources = block.sources;
  float weight;
  if (block.uniform(&weight)) {
    if (weight == 1.0f || weight == 0.0f)
      return finish_rgb(walk, out, FromOne{sources[weight == 0.0f]}, first, pixels);
    const OneWeight own = {weight};
    return finish_rgb(walk, out, FromTwo<OneWeight>{sources[0], sources[1], own}, first, pixels);
  }
  if (p.sources > 2) {
    block.mix(walk.mixed);
    return finish_rgb(walk, out, FromFloats{walk.mixed}, first, pixels);
  }
  if (is_cut(p)) return finish_box(walk, out, block, first);
  if (p.method == kFMix && p.soft == 0) {
    const Bits bits = {static_cast<const uint32_t*>(block.field),
                       static_cast<int64_t>(block.y) * p.width};
    return finish_rgb(walk, out, FromEither<Bits>{sources[0], sources[1], bits}, first, pixels);
  }
  for (int32_t r = 0; r < block.rows; ++r)
    block.weights_of_row(walk.mixed + r * p.width, block.y + r);
  const Weights own = {walk.mixed};
  finish_rgb(walk, out, FromTwo<Weights>{sources[0], sources[1], own}, first, pixels);
}

// Bytes that stay as they are: whole blocks from one source, or runs of rows from two.
bool copy_bytes(const Walk& walk, uint8_t* out, const Block<uint8_t>& block, int64_t first) {
  const Plan& p = block.p;
  const int64_t channels = block.channels;
  float weight;
  if (walk.b.out_layout == kChw && channels > 1) return false;
  if (block.uniform(&weight)) {
    if (weight != 1.0f && weight != 0.0f) return false;
    copy_out(out + first * channels, block.sources[weight == 0.0f], block.values(), walk.past);
    return true;
  }
  if (!is_cut(p)) return false;
  uint8_t* staged = reinterpret_cast<uint8_t*>(walk.staged);
  for (int32_t r = 0; r < block.rows; ++r) {
    Run runs[3];
    const int32_t count = runs_of_row(runs, p, block.y + r);
    for (int32_t k = 0; k < count; ++k) {
      const int64_t at = (static_cast<int64_t>(r) * p.width + runs[k].begin) * channels;
      memcpy(staged + at, block.sources[runs[k].weight == 0.0f] + at,
             (runs[k].end - runs[k].begin) * channels);
    }
  }
  copy_out(out + first * channels, staged, block.values(), walk.past);
  return true;
}
template <typename Out>
bool copy_bytes(const Walk&, Out*, const Block<uint8_t>&, int64_t) {
  return false;
}

template <typename Out>
void finish(const Walk& walk, Out* out, const Block<uint8_t>& block, int64_t first) {
  if (copy_bytes(walk, out, block, first)) return;
  if (walk.b.channels == 3) return finish_rgb_bytes(walk, out, block, first);
  block.mix(walk.mixed);
  finish_any(walk, out, walk.mixed, first, block.rows * block.p.width);
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
    for (int32_t index = first; index < first + b.interpolations; ++index)
      finish_block(walk, static_cast<Out*>(b.outs[index]),
                   walk.block<In>(index, y, static_cast<int32_t>(rows)),
                   static_cast<int64_t>(y) * b.width);
    row += rows;
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
