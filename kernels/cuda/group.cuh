// What one thread blends at a time: a group of neighbouring pixels of one row.  The values are
// those of blend_value(), by the same expressions or by others with the same bits.
#pragma once
#include "cuda/arguments.h"
#include "cuda/output.h"

namespace msda {

template <typename T>
MSDA_FN T* sample_at(const MsdaSamples& s, int32_t i) {
  return reinterpret_cast<T*>(s.each ? static_cast<char*>(s.each[i])
                                     : s.first + static_cast<int64_t>(i) * s.stride);
}

// Types and sizes of a group.  Its values are counted pixel by pixel, with the channels of a pixel
// side by side; they are stored as kChannels runs, each of them a part of a plane or of a row. With
// kAligned it has all its pixels, and every address fits its loads and stores.  With kApart each
// run is made by another thread, which blocks that are few need to keep a device busy.
template <typename InType, typename OutType, int32_t channels, bool aligned,
          int32_t pixels = group_pixels(sizeof(InType), sizeof(OutType)), bool apart = false>
struct Group {
  using In = InType;
  using Out = OutType;
  static constexpr int32_t kInBytes = sizeof(In), kOutBytes = sizeof(Out);
  static constexpr int32_t kChannels = channels, kPixels = pixels;
  static constexpr int32_t kValues = kChannels * kPixels, kWords = kValues * kInBytes / 4;
  static constexpr uint32_t kAll = (1u << kPixels) - 1u;  // a bit for each pixel
  static constexpr bool kAligned = aligned, kApart = apart;
  // Whether this thread stores a run.
  static __device__ bool Has(int32_t run) {
    return !kApart || blockIdx.x % kChannels == static_cast<uint32_t>(run);
  }
};

// A column of groups, which a thread goes down.
struct Column {
  const MsdaGpuBlend& b;
  const MsdaBlendRecord& r;
  int32_t x;          // the first pixel
  int32_t count;      // pixels of a group that are in the row
  int32_t across;     // from a pixel to the one where a mirrored sample has its group
  uint32_t box;       // which pixels of the group lie in the box, in the rows of the box
  uint32_t mirrored;  // bit k: source k is
};

// The bits below bit n.
MSDA_FN uint32_t bits_below(int32_t n, int32_t pixels) {
  return (1u << (n < 0 ? 0 : n > pixels ? pixels : n)) - 1u;
}

template <typename G>
MSDA_FN Column column_at(const MsdaGpuBlend& b, const MsdaBlendRecord& r, uint32_t mirrored,
                         int32_t x) {
  const int32_t left = b.width - x;
  Column c = {b, r, x, left < G::kPixels ? left : G::kPixels, left - G::kPixels - x, 0, mirrored};
  c.box = (bits_below(r.box.x1 - x, G::kPixels) & ~bits_below(r.box.x0 - x, G::kPixels)) |
          bits_below(r.box.x1 - b.width - x, G::kPixels);  // it may wrap round the border
  return c;
}

// Which pixels of the group in row y lie in the box.
MSDA_FN uint32_t box_bits(const Column& c, int32_t y) {
  return in_interval(y, c.r.box.y0, c.r.box.y1, c.b.height) ? c.box : 0u;
}

// Reverses the order of the pixels, for a sample that is mirrored.
template <typename G>
MSDA_FN void turn_round(uint32_t* words) {
  uint32_t old[G::kWords];
#pragma unroll
  for (int32_t i = 0; i < G::kWords; ++i) old[i] = words[i];
  const auto from = [](int32_t value) {
    return (G::kPixels - 1 - value / G::kChannels) * G::kChannels + value % G::kChannels;
  };
#pragma unroll
  for (int32_t i = 0; i < G::kWords; ++i)
    words[i] = G::kInBytes == 4
                   ? old[from(i)]
                   : word_of(old, from(4 * i), from(4 * i + 1), from(4 * i + 2), from(4 * i + 3));
}

// Loads the group of source k from a sample, where `pixel` is the first that the output has there.
template <typename G>
MSDA_FN void load_unturned(uint32_t* words, const Column& c, const char* sample, int32_t k,
                           uint32_t pixel) {
  constexpr int32_t kBytes = G::kChannels * G::kInBytes;
  const int32_t across = c.mirrored >> k & 1 ? c.across : 0;
  const uint32_t at = pixel + static_cast<uint32_t>(across);
  const char* from = sample + static_cast<uint64_t>(at) * kBytes;
  if constexpr (G::kAligned) {
    load_words<G::kWords>(words, from);
  } else if (at - 4u < c.b.inner) {
    load_skewed<G::kWords>(words, from, typename G::In{});
  } else {
    load_at_end<G::kWords>(words, sample, int64_t{c.b.pixels} * kBytes,
                           (int64_t{pixel} + across) * kBytes);
  }
}

template <typename G>
MSDA_FN void load_group(uint32_t* words, const Column& c, const char* sample, int32_t k,
                        uint32_t pixel) {
  load_unturned<G>(words, c, sample, k, pixel);
  if (c.mirrored >> k & 1) turn_round<G>(words);
}

// Loads both sources of a group: first both loads are under way, and then one is waited for.
template <typename G>
MSDA_FN void load_both(uint32_t* own, uint32_t* partner, const Column& c, const char* own_sample,
                       const char* partner_sample, uint32_t pixel) {
  load_unturned<G>(own, c, own_sample, 0, pixel);
  load_unturned<G>(partner, c, partner_sample, 1, pixel);
  if (c.mirrored & 1) turn_round<G>(own);
  if (c.mirrored & 2) turn_round<G>(partner);
}

// Words of a run of values from value(0), value(1), ...
template <typename G, typename Value>
MSDA_FN Words16 run_of(Value value) {
  float values[G::kPixels];
#pragma unroll
  for (int32_t i = 0; i < G::kPixels; ++i) values[i] = value(i);
  Words16 w = {};
#pragma unroll
  for (int32_t i = 0; i < G::kPixels * G::kOutBytes / 4; ++i)
    w.word[i] = packed(values, i, static_cast<const typename G::Out*>(nullptr));
  return w;
}

// Stores the group at `pixel`.  run(value) makes the words of a run; value(i) is the number of the
// group's value that is the run's number i.
template <typename G, typename Run>
MSDA_FN void store_runs(const Column& c, uint32_t pixel, Run run) {
  using Out = typename G::Out;
  constexpr int32_t kChannels = G::kChannels, kPixels = G::kPixels;
  Out* out = reinterpret_cast<Out*>(c.r.out);
  if (c.b.chw) {
    out += pixel;
#pragma unroll
    for (int32_t k = 0; k < kChannels; ++k) {
      if (G::Has(k))
        store_run<kPixels, G::kAligned>(out, c.count,
                                        run([k](int32_t i) { return i * kChannels + k; }));
      out = reinterpret_cast<Out*>(reinterpret_cast<char*>(out) + c.b.plane);
    }
    return;
  }
  out += static_cast<uint64_t>(pixel) * kChannels;
#pragma unroll
  for (int32_t k = 0; k < kChannels; ++k)
    if (G::Has(k))
      store_run<kPixels, G::kAligned>(out + k * kPixels, c.count * kChannels - k * kPixels,
                                      run([k](int32_t i) { return k * kPixels + i; }));
}

// Stores the group whose values before they are normalised are mixed(0), mixed(1), ...
template <typename G, typename Mixed>
MSDA_FN void store_group(const Column& c, uint32_t pixel, Mixed mixed) {
  const auto final_value = [&](int32_t value) {
    const float v = mixed(value);
    if (G::kOutBytes == 1) return v;
    const int32_t k = value % G::kChannels;
    const float normalised = normalise(v, c.b.scales[k], c.b.shifts[k]);
    // Multiplying bytes by 1 and adding -0 changes nothing; a float's NaN might get other bits.
    return G::kInBytes == 1 || c.b.normalises ? normalised : v;
  };
  store_runs<G>(c, pixel, [&](auto value) {
    return run_of<G>([&](int32_t i) { return final_value(value(i)); });
  });
}

// Stores a group that is not mixed.  Bytes that stay bytes are only put into place.
template <typename G>
MSDA_FN void store_copy(const Column& c, uint32_t pixel, const uint32_t* words) {
  if constexpr (G::kInBytes == 1 && G::kOutBytes == 1) {
    store_runs<G>(c, pixel, [&](auto value) {
      Words16 w = {};
#pragma unroll
      for (int32_t i = 0; i < G::kPixels / 4; ++i)
        w.word[i] =
            word_of(words, value(4 * i), value(4 * i + 1), value(4 * i + 2), value(4 * i + 3));
      return w;
    });
  } else {
    store_group<G>(c, pixel,
                   [&](int32_t value) { return window_value(words, value, typename G::In{}); });
  }
}

// Overwrites those pixels of a group by 0 whose bits are set.
template <typename G>
MSDA_FN void erase_pixels(const Column& c, uint32_t pixel, uint32_t bits) {
  using Out = typename G::Out;
  Out* out = reinterpret_cast<Out*>(c.r.out);
  const uint64_t plane = c.b.chw ? c.b.pixels : 1;
#pragma unroll 1
  for (int32_t j = 0; j < c.count; ++j)
    for (int32_t k = 0; k < G::kChannels; ++k)
      if ((bits >> j & 1u) && G::Has(c.b.chw ? k : (j * G::kChannels + k) / G::kPixels))
        store_part(0, out + (uint64_t{pixel} + j) * (c.b.chw ? 1 : G::kChannels) + k * plane);
}

}  // namespace msda
