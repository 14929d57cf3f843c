// The methods with a box: where it lies, and how the pixels and the label are weighed.
#pragma once
#include "msda/draw/streams.h"

namespace msda {

struct Interval {
  int32_t begin, end;
};

// The side, along an axis of n pixels, of a box with share^2 of the area.  CutMix's authors cut
// n * share to a whole number, and that to an even one, which kBoxClip does too.  The other kinds
// of box are not theirs, and take the nearest whole number.
MSDA_FN int32_t box_side(int32_t box, int32_t n, double share) {
  const double side = n * share;
  return box == kBoxClip ? static_cast<int32_t>(side) / 2 * 2 : static_cast<int32_t>(rint(side));
}

// One axis of a box around a pixel: cut off at the border, shifted inside or wrapped round it.
MSDA_FN Interval place_around(int32_t box, int32_t n, int32_t side, int32_t centre) {
  int32_t begin = centre - side / 2;
  if (box == kBoxClip) {
    const int32_t end = centre + side / 2;
    return {begin < 0 ? 0 : begin, end > n ? n : end};
  }
  if (begin < 0) begin = box == kBoxWrap ? begin + n : 0;
  if (box == kBoxInside && begin > n - side) begin = n - side;
  return {begin, begin + side};
}

// One axis of a box at a random place.
MSDA_FN Interval place(int32_t box, int32_t n, int32_t side, uint64_t word) {
  if (box == kBoxClip) return place_around(box, n, side, bounded(word, n));
  const int32_t begin = bounded(word, box == kBoxWrap ? n : n - side + 1);
  return {begin, begin + side};
}

MSDA_FN int32_t minmax_side(const MsdaLeaf& leaf, int32_t n, uint64_t word) {
  const int32_t low = static_cast<int32_t>(n * leaf.min_side);
  const int32_t high = static_cast<int32_t>(n * leaf.max_side);
  return low + bounded(word, high - low + 1);
}

// Sets the box and returns its share of the pixels.
MSDA_FN double set_box(Plan& p, Interval y, Interval x) {
  p.y0 = y.begin, p.y1 = y.end, p.x0 = x.begin, p.x1 = x.end;
  return static_cast<double>(y.end - y.begin) * (x.end - x.begin) / pixels(p);
}

// Places a box and returns its share of the pixels.
MSDA_FN double draw_box(Plan& p, int32_t box, int32_t side_y, int32_t side_x, Stream& position) {
  const Interval y = place(box, p.height, side_y, position.word());
  return set_box(p, y, place(box, p.width, side_x, position.word()));
}

// Yun et al., CutMix, ICCV 2019; box and label weight as in the authors' code.
MSDA_FN void draw_cutmix(Plan& p, const MsdaLeaf& leaf, const Unit& unit) {
  Stream position = unit.stream(kDrawPosition);
  const double share = sqrt(1.0 - p.lam);
  int32_t side_y = box_side(leaf.box, p.height, share), side_x = box_side(leaf.box, p.width, share);
  if (leaf.box == kBoxMinMax) {
    Stream side = unit.stream(kDrawSide);
    side_y = minmax_side(leaf, p.height, side.word());
    side_x = minmax_side(leaf, p.width, side.word());
  }
  p.inside = 0.0f, p.outside = 1.0f;
  set_weight(p, static_cast<float>(1.0 - draw_box(p, leaf.box, side_y, side_x, position)));
  if (leaf.box == kBoxMinMax) p.lam = p.weight[0];
}

// Uddin et al., SaliencyMix, ICLR 2021: CutMix's box around the partner's most salient pixel.
MSDA_FN void draw_saliencymix(Plan& p, const MsdaLeaf& leaf, const Unit& unit) {
  const double share = sqrt(1.0 - p.lam);
  p.point[1] = unit.peak[0], p.point[2] = unit.peak[1];
  const Interval y =
      place_around(leaf.box, p.height, box_side(leaf.box, p.height, share), p.point[1]);
  const Interval x =
      place_around(leaf.box, p.width, box_side(leaf.box, p.width, share), p.point[2]);
  p.inside = 0.0f, p.outside = 1.0f;
  set_weight(p, static_cast<float>(1.0 - set_box(p, y, x)));
}

// Park, Yun and Chun, arXiv:2208.09913, HMix: a box of the partner, and Mixup around it.
MSDA_FN void draw_hmix(Plan& p, const MsdaLeaf& leaf, const Unit& unit) {
  double ratio[2] = {leaf.r, 0.0};
  if (leaf.r_gamma > 0.0) {
    Stream stream = unit.stream(kDrawRatio);
    dirichlet(ratio, 2, leaf.r_gamma, stream);
  }
  Stream position = unit.stream(kDrawPosition);
  const double lam = p.lam, share = sqrt(1.0 - lam) * sqrt(ratio[0]);
  const int32_t side_y = box_side(leaf.box, p.height, share);
  const int32_t side_x = box_side(leaf.box, p.width, share);
  const double area = draw_box(p, leaf.box, side_y, side_x, position);
  const double rest = 1.0 - (leaf.mode == kHMixExact ? area : (1.0 - lam) * ratio[0]);
  p.inside = 0.0f;
  p.outside = rest > lam ? static_cast<float>(lam / rest) : rest > 0.0 ? 1.0f : 0.0f;
  // A side rounded up may cover more than 1 - lam: the label is then what the box leaves.
  set_weight(p, leaf.mode == kHMixExact && rest < lam ? static_cast<float>(rest) : p.lam);
}

// Qin et al., ResizeMix, arXiv:2012.11101, as in the authors' code: the box is shifted inside.
MSDA_FN void draw_resizemix(Plan& p, double tau, const Unit& unit) {
  Stream position = unit.stream(kDrawPosition);
  const int32_t sizes[2] = {p.height, p.width};
  Interval box[2];
  for (int32_t axis = 0; axis < 2; ++axis) {
    const int32_t n = sizes[axis], length = static_cast<int32_t>(n * tau);
    const int32_t centre = bounded(position.word(), n);
    int32_t begin = centre - length / 2;
    if (begin < 0) begin = 0;
    if (begin > n - length) begin = n - length;
    box[axis] = {begin, begin + length};
    p.falloff[1 + axis] = length > 0 ? static_cast<float>(1.0 / tau) : 1.0f;
  }
  p.inside = 0.0f, p.outside = 1.0f;
  set_weight(p, static_cast<float>(1.0 - set_box(p, box[0], box[1])));
}

// DeVries and Taylor, Cutout, arXiv:1708.04552: a square becomes 0; the label is kept.
MSDA_FN void draw_cutout(Plan& p, const MsdaLeaf& leaf, const Unit& unit) {
  Stream position = unit.stream(kDrawPosition);
  const int32_t side = leaf.length / 2 * 2;
  draw_box(p, kBoxClip, side, side, position);
  p.sources = 1;
  p.lam = p.weight[0] = 1.0f;
  p.inside = 0.0f, p.outside = 1.0f;
}

}  // namespace msda
