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
  bool past;                  // store past the caches
  mutable int32_t laid = -1;  // what `along` holds is that of outputs from this one on
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

  // The bumps of GMix along x and, behind them, along y; the columns of ResizeMix along x.
  const float* along_of(int32_t index) const {
    const int32_t first = index - index % b.interpolations;
    const int64_t each = static_cast<int64_t>(b.width) + b.height;
    for (int32_t k = 0; k < b.interpolations && laid != first; ++k) {
      const Plan& p = b.plans[first + k];
      float* to = along + k * each;
      if (p.method == kGMix) {
        bumps(to, p.falloff[2], p.point[2], b.width);
        bumps(to + b.width, p.falloff[1], p.point[1], b.height);
      } else if (p.method == kResizeMix && p.sources == 2) {
        columns_shrunk(reinterpret_cast<int32_t*>(to), p, b.mirror && b.mirror[p.source[1]]);
      }
    }
    laid = first;
    return along + (index - first) * each;
  }

  template <typename In>
  Block<In> block(int32_t index, int32_t y, int32_t rows) const {
    const Plan& p = b.plans[index];
    Block<In> block = {p,       y,       rows,    b.channels, {},
                       nullptr, nullptr, nullptr, weights,    weights + b.width};
    if (p.method == kFMix) block.field = b.fields[index];
    if (p.method == kGMix) {
      block.along_x = along_of(index);
      block.along_y = block.along_x + b.width;
    }
    const int64_t pitch = static_cast<int64_t>(b.width) * b.channels;
    for (int32_t k = 0; k < p.sources; ++k) {
      const In* from = static_cast<const In*>(b.ins[p.source[k]]) + y * pitch;
      block.sources[k] = from;
      if (k == 1 && p.method == kResizeMix && p.sources == 2) {
        block.sources[k] = shrunk(index, y, rows, from);
        continue;
      }
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

  // The partner's rows `from`, with all of it shrunk into the box; where nothing else of them is
  // wanted, as a rule, the rest is anything.
  template <typename In>
  const In* shrunk(int32_t index, int32_t y, int32_t rows, const In* from) const {
    const Plan& p = b.plans[index];
    const int64_t pitch = static_cast<int64_t>(b.width) * b.channels;
    const In* whole = static_cast<const In*>(b.ins[p.source[1]]);
    const int32_t* columns = reinterpret_cast<const int32_t*>(along_of(index));
    const bool flipped = b.mirror && b.mirror[p.source[1]];
    In* to = reinterpret_cast<In*>(mirrored[1]);
    for (int32_t r = 0; r < rows; ++r, to += pitch) {
      if (p.outside != 1.0f && flipped)
        mirror_row(to, from + r * pitch, b.width, b.channels);
      else if (p.outside != 1.0f)
        memcpy(to, from + r * pitch, pitch * sizeof(In));
      if (!in_interval(y + r, p.y0, p.y1, p.height)) continue;
      const int32_t row = shrunk_from(y + r, p.y0, p.falloff[1], p.height);
      gather_pixels(to + static_cast<int64_t>(p.x0) * b.channels, whole + row * pitch, columns,
                    p.x1 - p.x0, b.channels, row == p.height - 1);
    }
    turned[1] = {};  // it holds no mirrored block any more
    return reinterpret_cast<In*>(mirrored[1]);
  }
};

// Whether vectors of these are wide enough to be stored past the caches one by one.
template <typename Out>
constexpr bool kStreams = sizeof(Out) > 1 && kLanes > 4;

template <bool kValue>
struct Always {
  static constexpr bool value = kValue;
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
  const int32_t together = b.out_layout == kChw ? kTogether<Out> : kLanes;
  const int32_t vector = together * sizeof(Out);
  Target<Out> t = {};
  bool fits = alone == pixels || alone % together == 0;
  if (b.out_layout == kChw) {
    for (int32_t c = 0; c < 3; ++c) t.direct[c] = out + first + c * plane;
    fits = fits && aligned(t.direct[0], vector) && plane % together == 0;
  } else {
    t.direct[0] = out + first * 3;
    fits = fits && aligned(t.direct[0], vector);
  }
  t.staged = walk.past && !(fits && kStreams<Out>);
  t.past = walk.past && !t.staged;
  Out* staged = reinterpret_cast<Out*>(walk.staged);
  for (int32_t c = 0; c < 3; ++c) t.to[c] = t.staged ? staged + c * pixels : t.direct[c];
  return t;
}

template <typename Out>
void send(const Walk& walk, const Target<Out>& t, int32_t pixels) {
  if (!t.staged) return;
  if (walk.b.out_layout != kChw)
    return stream_bytes(t.direct[0], t.to[0], 3 * pixels * sizeof(Out));
  for (int32_t c = 0; c < 3; ++c) stream_bytes(t.direct[c], t.to[c], pixels * sizeof(Out));
}

// RGB rows of n pixels, of which from_row(r) says where they come from.
template <typename Out, typename FromRow>
void finish_rows(const Walk& walk, Out* out, int64_t first, int32_t rows, int32_t n,
                 FromRow from_row) {
  const Target<Out> t = target_of(walk, out, first, rows * n, n);
  const auto put_all = [&](auto past) {
    if (walk.b.out_layout == kChw)
      rgb_to_planes<past.value>(t.to, from_row, rows, n, walk.scale, walk.shift);
    else
      rgb_to_pixels<past.value>(t.to[0], from_row, rows, n, walk.scale, walk.shift);
  };
  if constexpr (kStreams<Out>)
    if (t.past) put_all(Always<true>{});
  if (!t.past) put_all(Always<false>{});
  send(walk, t, rows * n);
}

// All pixels of a block alike.
template <typename Out, typename From>
void finish_rgb(const Walk& walk, Out* out, From from, int64_t first, int32_t pixels) {
  finish_rows(walk, out, first, 1, pixels, [from](int32_t) { return from; });
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

// Other channels than three, mixed before.
template <typename In, typename Out>
void finish_others(const Walk& walk, Out* out, const Block<In>& block, int64_t first) {
  finish_any(walk, out, walk.mixed, first, block.rows * block.p.width);
  if (block.p.method == kCutout) clear_box(walk.b, out, block.p, block.y, block.rows, first);
}

// Boxes as most are drawn: rows are copied from one source and, in the box, from the other.
bool is_cut(const Plan& p) {
  const bool cuts = p.method == kCutMix || p.method == kSaliencyMix || p.method == kResizeMix;
  return cuts && p.sources == 2 && p.inside == 0.0f && p.outside == 1.0f;
}

// Rows are copied from one source and, in the box, from the other.
template <typename Out>
void finish_cut(const Walk& walk, Out* out, const Block<uint8_t>& block, int64_t first) {
  const Plan& p = block.p;
  const uint8_t *own = block.sources[0], *partner = block.sources[1];
  const int32_t y = block.y;
  finish_rows(walk, out, first, block.rows, p.width, [&p, own, partner, y](int32_t r) {
    Run runs[3];
    const bool one = runs_of_row(runs, p, y + r) == 1;
    const Box box = one ? Box{0, 0} : Box{runs[1].begin, runs[1].end};
    const int32_t at = r * p.width * 3;
    if (runs[0].weight == 0.0f) return FromEither<Box>{partner + at, own + at, box};
    return FromEither<Box>{own + at, partner + at, box};
  });
}

// Cutout: 0 in the box, whatever the values come from.
template <typename Out, typename From>
void finish_cutout(const Walk& walk, Out* out, const Plan& p, int32_t y, int32_t rows,
                   int64_t first, From from) {
  finish_rows(walk, out, first, rows, p.width, [&p, from, y](int32_t r) {
    const bool crosses = in_interval(y + r, p.y0, p.y1, p.height);
    return Cut<From>{from.moved(r * p.width * 3), crosses ? Box{p.x0, p.x1} : Box{0, 0}};
  });
}

template <typename Out>
void finish_bump(const Walk& walk, Out* out, const Block<uint8_t>& block, int64_t first) {
  const Plan& p = block.p;
  const uint8_t *own = block.sources[0], *partner = block.sources[1];
  const float *along_x = block.along_x, *along_y = block.along_y + block.y;
  finish_rows(walk, out, first, block.rows, p.width, [=, &p](int32_t r) {
    const BumpWeights weights = {along_x, along_y[r], p.outside, p.inside - p.outside};
    const int32_t at = r * p.width * 3;
    return FromTwo<BumpWeights>{own + at, partner + at, weights};
  });
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
  if (p.method == kCutout && p.sources == 1)
    return finish_cutout(walk, out, p, block.y, block.rows, first, FromOne{sources[0]});
  if (p.method == kCutout) {
    block.mix(walk.mixed);
    return finish_cutout(walk, out, p, block.y, block.rows, first, FromFloats{walk.mixed});
  }
  if (p.sources > 2) return finish_rgb(walk, out, FromMany(sources, p), first, pixels);
  if (is_cut(p)) return finish_cut(walk, out, block, first);
  if (p.method == kGMix) return finish_bump(walk, out, block, first);
  const int64_t begin = static_cast<int64_t>(block.y) * p.width;
  if (p.method == kFMix && p.soft == 0) {
    const Bits bits = {static_cast<const uint32_t*>(block.field), begin};
    return finish_rgb(walk, out, FromEither<Bits>{sources[0], sources[1], bits}, first, pixels);
  }
  Weights own = {walk.mixed};
  if (p.method == kFMix)
    own.weights = static_cast<const float*>(block.field) + begin;
  else
    for (int32_t r = 0; r < block.rows; ++r)
      block.weights_of_row(walk.mixed + r * p.width, block.y + r);
  finish_rgb(walk, out, FromTwo<Weights>{sources[0], sources[1], own}, first, pixels);
}

// Pixels of two sources by the bits of a field, where bytes can be chosen by bits.
bool choose_bytes(const Walk& walk, uint8_t* out, const Block<uint8_t>& block, int64_t first) {
#if defined(__AVX512F__)
  const int32_t pixels = block.rows * block.p.width;
  const Bits choice = {static_cast<const uint32_t*>(block.field),
                       static_cast<int64_t>(block.y) * block.p.width};
  const uint8_t *own = block.sources[0], *partner = block.sources[1];
  uint8_t* staged = reinterpret_cast<uint8_t*>(walk.staged);
  int32_t x = 0;
  for (; x + kLanes <= pixels; x += kLanes)
    put_chosen(staged + 3 * x, choice.bits(x), own + 3 * x, partner + 3 * x);
  for (; x < pixels; ++x) memcpy(staged + 3 * x, (choice.own_at(x) ? own : partner) + 3 * x, 3);
  copy_out(out + first * 3, staged, 3 * int64_t{pixels}, walk.past);
  return true;
#else
  (void)walk, (void)out, (void)block, (void)first;
  return false;
#endif
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
  if (p.method == kFMix && p.soft == 0 && channels == 3 && p.sources == 2)
    return choose_bytes(walk, out, block, first);
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
  finish_others(walk, out, block, first);
}

template <typename Out>
void finish(const Walk& walk, Out* out, const Block<float>& block, int64_t first) {
  const int32_t pixels = block.rows * block.p.width;
  block.mix(walk.mixed);
  const FromFloats from = {walk.mixed};
  if (walk.b.channels != 3) return finish_others(walk, out, block, first);
  if (block.p.method == kCutout)
    return finish_cutout(walk, out, block.p, block.y, block.rows, first, from);
  finish_rgb(walk, out, from, first, pixels);
}

// Reads ahead in the partner, where it is not read from one end to the other: the machine's own
// prefetcher gets lost there.  Boxes leave gaps in both images.  They are read over, since in the
// order of msda_order() the partner is the next own image, which wants what this one leaves out.
constexpr int64_t kAheadBytes = 5 << 10;

template <typename In>
void fetch_ahead(const MsdaBlend& b, const Plan& p, int32_t y, int32_t rows) {
  if (!b.order || !is_cut(p)) return;
  const int64_t pitch = static_cast<int64_t>(b.width) * b.channels * sizeof(In);
  const char* partner = static_cast<const char*>(b.ins[p.source[1]]);
  const int32_t first = y + 1 + static_cast<int32_t>(kAheadBytes / pitch);
  for (int32_t row = first; row < first + rows && row < b.height; ++row) {
    int32_t from = row;
    if (p.method == kResizeMix) {
      if (!in_interval(row, p.y0, p.y1, p.height)) continue;
      from = shrunk_from(row, p.y0, p.falloff[1], p.height);
    }
    for (int64_t at = 0; at < pitch; at += 64)
      _mm_prefetch(partner + from * pitch + at, _MM_HINT_T1);
  }
}

template <typename In, typename Out>
void rows_of(const MsdaBlend& b, int64_t begin, int64_t end, char* memory) {
  const Walk walk(b, memory, sizeof(Out));
  const int32_t step = rows_per_block(b);
  for (int64_t row = begin; row < end;) {
    const int32_t turn = static_cast<int32_t>(row / b.height);
    const int32_t first = (b.order ? b.order[turn] : turn) * b.interpolations;
    const int32_t y = static_cast<int32_t>(row % b.height);
    int64_t rows = b.height - y;
    if (rows > end - row) rows = end - row;
    if (rows > step) rows = step;
    fetch_ahead<In>(b, b.plans[first], y, static_cast<int32_t>(rows));
    for (int32_t index = first; index < first + b.interpolations; ++index)
      finish(walk, static_cast<Out*>(b.outs[index]),
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
        finish(walk, held[k], walk.block<Value>(pair[k], y, rows), 0);
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
      if constexpr (sizeof(In) == 1) return rows_of<In, uint8_t>(b, begin, end, memory);
      return;
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
