// Writes blocks of rows into an output.  RGB bytes are mixed on the way, in registers; other values
// are mixed into floats first (row_block.h).
#pragma once
#include "cpu/simd/blend_thread.h"
#include "cpu/simd/rgb_output.h"

namespace msda {
namespace {

// Whether vectors of these values are wide enough to be stored past the caches one by one.
template <typename Out>
constexpr bool kStreams = sizeof(Out) > 1 && kLanes > 4;

template <bool kValue>
struct Always {
  static constexpr bool value = kValue;
};

// Where the RGB values of a block go: three planes, or pixels at to[0].  They go straight to the
// output, `direct`, unless vectors that bypass the caches would be misaligned there: then they are
// staged in the cache first.
template <typename Out>
struct Target {
  Out *to[3], *direct[3];
  bool staged, past;
};

// `alone` is how many pixels are put at a time: all of the block's or a row's.
template <typename Out>
Target<Out> target_of(const BlendThread& thread, Out* out, int64_t first, int32_t pixels,
                      int32_t alone) {
  const MsdaBlend& b = thread.b;
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
  t.staged = thread.past && !(fits && kStreams<Out>);
  t.past = thread.past && !t.staged;
  Out* staged = reinterpret_cast<Out*>(thread.staged);
  for (int32_t c = 0; c < 3; ++c) t.to[c] = t.staged ? staged + c * pixels : t.direct[c];
  return t;
}

// Copies a staged block to the output.
template <typename Out>
void send(const BlendThread& thread, const Target<Out>& t, int32_t pixels) {
  if (!t.staged) return;
  if (thread.b.out_layout != kChw)
    return stream_bytes(t.direct[0], t.to[0], 3 * pixels * sizeof(Out));
  for (int32_t c = 0; c < 3; ++c) stream_bytes(t.direct[c], t.to[c], pixels * sizeof(Out));
}

// Puts RGB rows of n pixels; from_row(r) says where the pixels of row r come from.
template <typename Out, typename FromRow>
void put_rgb_rows(const BlendThread& thread, Out* out, int64_t first, int32_t rows, int32_t n,
                  FromRow from_row) {
  const Target<Out> t = target_of(thread, out, first, rows * n, n);
  const auto put_all = [&](auto past) {
    if (thread.b.out_layout == kChw)
      rgb_to_planes<past.value>(t.to, from_row, rows, n, thread.scale, thread.shift, thread.ahead);
    else
      rgb_to_pixels<past.value>(t.to[0], from_row, rows, n, thread.scale, thread.shift,
                                thread.ahead);
  };
  if constexpr (kStreams<Out>)
    if (t.past) put_all(Always<true>{});
  if (!t.past) put_all(Always<false>{});
  send(thread, t, rows * n);
}

// Puts RGB pixels that all come from one kind of source.
template <typename Out, typename From>
void put_rgb(const BlendThread& thread, Out* out, From from, int64_t first, int32_t pixels) {
  put_rgb_rows(thread, out, first, 1, pixels, [from](int32_t) { return from; });
}

// Puts the mixed values of a block with one channel.
template <typename Out>
void put_one_channel(const BlendThread& thread, Out* out, const float* mixed, int64_t first,
                     int32_t n) {
  const MsdaBlend& b = thread.b;
  const float scale = b.scale ? b.scale[0] : 1.0f, shift = b.shift ? b.shift[0] : -0.0f;
  Out* to = thread.past ? reinterpret_cast<Out*>(thread.staged) : out + first;
  int32_t x = 0;
  for (; x + kLanes <= n; x += kLanes)
    put(to + x, fused(load(mixed + x), splat(scale), splat(shift)), false);
  for (; x < n; ++x) store(to + x, normalise(mixed[x], scale, shift));
  if (thread.past) stream_bytes(out + first, to, n * sizeof(Out));
}

template <typename Out>
void put_channels(const BlendThread& thread, Out* out, const float* mixed, int64_t first,
                  int32_t pixels) {
  const MsdaBlend& b = thread.b;
  if (b.channels == 1) return put_one_channel(thread, out, mixed, first, pixels);
  Out* staged = reinterpret_cast<Out*>(thread.staged);
  const int64_t plane = static_cast<int64_t>(b.height) * b.width;
  const bool chw = b.out_layout == kChw;
  for (int32_t c = 0; c < b.channels; ++c) {
    const float scale = b.scale ? b.scale[c] : 1.0f, shift = b.shift ? b.shift[c] : -0.0f;
    Out* to = chw ? staged : staged + c;
    const int32_t step = chw ? 1 : b.channels;
    for (int32_t x = 0; x < pixels; ++x)
      store(to + x * step, normalise(mixed[x * b.channels + c], scale, shift));
    if (chw) copy_out(out + c * plane + first, staged, pixels * sizeof(Out), thread.past);
  }
  if (!chw)
    copy_out(out + first * b.channels, staged, pixels * b.channels * sizeof(Out), thread.past);
}

// Sets the pixels in the box to 0, as Cutout wants it, after all else was done.
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

// Puts a block that was mixed into floats and does not have three channels.
template <typename In, typename Out>
void put_other_block(const BlendThread& thread, Out* out, const Block<In>& block, int64_t first) {
  put_channels(thread, out, thread.mixed, first, block.rows * block.p.width);
  if (erases(block.p)) clear_box(thread.b, out, block.p, block.y, block.rows, first);
}

// Whether a block pastes a box: each of its pixels is one of two sources' pixels, unchanged.
template <typename In>
bool pastes(const Block<In>& block) {
  const Plan& p = block.p;
  return block.kind == WeightKind::kBox && !erases(p) && p.sources == 2 && p.inside == 0.0f &&
         p.outside == 1.0f;
}

// Puts rows of one source, with a box of the other.
template <typename Out>
void put_pasted_rgb(const BlendThread& thread, Out* out, const Block<uint8_t>& block,
                    int64_t first) {
  const Plan& p = block.p;
  const uint8_t *own = block.sources[0], *partner = block.sources[1];
  const int32_t y = block.y;
  put_rgb_rows(thread, out, first, block.rows, p.width, [&p, own, partner, y](int32_t r) {
    Run runs[3];
    const bool one = runs_of_row(runs, p, y + r) == 1;
    const Box box = one ? Box{0, 0} : Box{runs[1].begin, runs[1].end};
    const int32_t at = r * p.width * 3;
    if (runs[0].weight == 0.0f) return FromEither<Box>{partner + at, own + at, box};
    return FromEither<Box>{own + at, partner + at, box};
  });
}

// Puts rows with a box of zeros; `from` gives the values around it.
template <typename Out, typename From>
void put_erased_rgb(const BlendThread& thread, Out* out, const Plan& p, int32_t y, int32_t rows,
                    int64_t first, From from) {
  put_rgb_rows(thread, out, first, rows, p.width, [&p, from, y](int32_t r) {
    const bool crosses = in_interval(y + r, p.y0, p.y1, p.height);
    return Erased<From>{from.moved(r * p.width * 3), crosses ? Box{p.x0, p.x1} : Box{0, 0}};
  });
}

template <typename Out>
void put_bump_rgb(const BlendThread& thread, Out* out, const Block<uint8_t>& block, int64_t first) {
  const Plan& p = block.p;
  const uint8_t *own = block.sources[0], *partner = block.sources[1];
  const float *along_x = block.along_x, *along_y = block.along_y + block.y;
  put_rgb_rows(thread, out, first, block.rows, p.width, [=, &p](int32_t r) {
    const BumpWeights weights = {along_x, along_y[r], p.outside, p.inside - p.outside};
    const int32_t at = r * p.width * 3;
    return FromTwo<BumpWeights>{own + at, partner + at, weights};
  });
}

template <typename Out>
void put_rgb_bytes(const BlendThread& thread, Out* out, const Block<uint8_t>& block,
                   int64_t first) {
  const Plan& p = block.p;
  const int32_t pixels = block.rows * p.width;
  const uint8_t* const* sources = block.sources;
  float weight;
  if (block.uniform(&weight)) {
    if (weight == 1.0f || weight == 0.0f)
      return put_rgb(thread, out, FromOne{sources[weight == 0.0f]}, first, pixels);
    const OneWeight own = {weight};
    return put_rgb(thread, out, FromTwo<OneWeight>{sources[0], sources[1], own}, first, pixels);
  }
  if (erases(p) && p.sources == 1)
    return put_erased_rgb(thread, out, p, block.y, block.rows, first, FromOne{sources[0]});
  if (erases(p)) {
    block.mix(thread.mixed);
    return put_erased_rgb(thread, out, p, block.y, block.rows, first, FromFloats{thread.mixed});
  }
  if (p.sources == 3) return put_rgb(thread, out, FromMany<3>(sources, p), first, pixels);
  if (p.sources == 4) return put_rgb(thread, out, FromMany<4>(sources, p), first, pixels);
  const int64_t begin = static_cast<int64_t>(block.y) * p.width;
  Weights own = {thread.mixed};
  switch (block.kind) {
    case WeightKind::kBits: {
      const Bits bits = {static_cast<const uint32_t*>(block.mask), begin};
      return put_rgb(thread, out, FromEither<Bits>{sources[0], sources[1], bits}, first, pixels);
    }
    case WeightKind::kBump:
      return put_bump_rgb(thread, out, block, first);
    case WeightKind::kFloats:
      own.weights = static_cast<const float*>(block.mask) + begin;
      break;
    case WeightKind::kOne:  // uniform() has taken it
    case WeightKind::kBox:
      if (pastes(block)) return put_pasted_rgb(thread, out, block, first);
      for (int32_t r = 0; r < block.rows; ++r)
        block.weights_of_row(thread.mixed + r * p.width, block.y + r);
      break;
  }
  put_rgb(thread, out, FromTwo<Weights>{sources[0], sources[1], own}, first, pixels);
}

// Copies each pixel from one of two sources, by the bits of a mask.
void choose_bytes(const BlendThread& thread, uint8_t* out, const Block<uint8_t>& block,
                  int64_t first) {
  const int32_t pixels = block.rows * block.p.width;
  const Bits choice = {static_cast<const uint32_t*>(block.mask),
                       static_cast<int64_t>(block.y) * block.p.width};
  const uint8_t *own = block.sources[0], *partner = block.sources[1];
  uint8_t* staged = reinterpret_cast<uint8_t*>(thread.staged);
  int32_t x = 0;
  for (; x + kLanes <= pixels; x += kLanes) {
    fetch_ahead<kLanes>(thread.ahead, x);
    store_pixels(staged + 3 * x, load_chosen(choice.bits(x), own + 3 * x, partner + 3 * x));
  }
  for (; x < pixels; ++x) memcpy(staged + 3 * x, (choice.own_at(x) ? own : partner) + 3 * x, 3);
  copy_out(out + first * 3, staged, 3 * int64_t{pixels}, thread.past);
}

// Copies bytes that stay as they are: whole blocks from one source, or runs of rows from two.
// Returns false where bytes change.
bool copy_bytes(const BlendThread& thread, uint8_t* out, const Block<uint8_t>& block,
                int64_t first) {
  const Plan& p = block.p;
  const int64_t channels = block.channels;
  float weight;
  if (thread.b.out_layout == kChw && channels > 1) return false;
  if (block.uniform(&weight)) {
    if (weight != 1.0f && weight != 0.0f) return false;
    copy_out(out + first * channels, block.sources[weight == 0.0f], block.values(), thread.past);
    return true;
  }
  if (block.kind == WeightKind::kBits && channels == 3 && p.sources == 2) {
    choose_bytes(thread, out, block, first);
    return true;
  }
  if (!pastes(block)) return false;
  uint8_t* staged = reinterpret_cast<uint8_t*>(thread.staged);
  for (int32_t r = 0; r < block.rows; ++r) {
    Run runs[3];
    const int32_t count = runs_of_row(runs, p, block.y + r);
    fetch(thread.ahead + r * p.width * channels, p.width * channels);
    for (int32_t k = 0; k < count; ++k) {
      const int64_t at = (static_cast<int64_t>(r) * p.width + runs[k].begin) * channels;
      memcpy(staged + at, block.sources[runs[k].weight == 0.0f] + at,
             (runs[k].end - runs[k].begin) * channels);
    }
  }
  copy_out(out + first * channels, staged, block.values(), thread.past);
  return true;
}
template <typename Out>
bool copy_bytes(const BlendThread&, Out*, const Block<uint8_t>&, int64_t) {
  return false;
}

template <typename Out>
void put_block(const BlendThread& thread, Out* out, const Block<uint8_t>& block, int64_t first) {
  if (copy_bytes(thread, out, block, first)) return;
  if (thread.b.channels == 3) return put_rgb_bytes(thread, out, block, first);
  block.mix(thread.mixed);
  put_other_block(thread, out, block, first);
}

template <typename Out>
void put_block(const BlendThread& thread, Out* out, const Block<float>& block, int64_t first) {
  block.mix(thread.mixed);
  if (thread.b.channels != 3) return put_other_block(thread, out, block, first);
  const FromFloats from = {thread.mixed};
  if (erases(block.p))
    return put_erased_rgb(thread, out, block.p, block.y, block.rows, first, from);
  put_rgb(thread, out, from, first, block.rows * block.p.width);
}

}  // namespace
}  // namespace msda
