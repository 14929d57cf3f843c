// Reads the header of an encoded image, to find what DALI's decoder takes and other decoders do
// not.
//
// The table of what the loaders take is pipelines/data/image_formats.py.  Here stands only the part
// of it that the decoder does not refuse by itself.  Where a header makes no sense, nothing is
// found here, since the decoder then fails.
#pragma once
#include <cstdint>
#include <cstring>
#include <string>

namespace msda::native {

constexpr int64_t kMostPixels = int64_t{1} << 28;  // 805 MB when they are decoded
constexpr int64_t kMostBytes = int64_t{1} << 30;   // of a file

// The bytes of a file.  What is read past its end is 0.
class Bytes {
 public:
  Bytes(const uint8_t* data, int64_t size) : data_(data), size_(size) {}
  int64_t size() const { return size_; }
  uint32_t at(int64_t i) const { return i >= 0 && i < size_ ? data_[i] : 0; }
  uint32_t big16(int64_t i) const { return at(i) << 8 | at(i + 1); }
  uint32_t big32(int64_t i) const { return big16(i) << 16 | big16(i + 2); }
  uint32_t little16(int64_t i) const { return at(i) | at(i + 1) << 8; }
  uint32_t little32(int64_t i) const { return little16(i) | little16(i + 2) << 16; }

  bool has(int64_t i, const char* text, int64_t length) const {
    return i >= 0 && length <= size_ - i && std::memcmp(data_ + i, text, length) == 0;
  }

  // Where a text begins, from `i` on, or -1.
  int64_t find(int64_t i, const char* text, int64_t length) const {
    const void* place = i < size_ ? memmem(data_ + i, size_ - i, text, length) : nullptr;
    return place ? static_cast<const uint8_t*>(place) - data_ : -1;
  }

 private:
  const uint8_t* data_;
  int64_t size_;
};

inline std::string size_fault(int64_t width, int64_t height) {
  if (width < 1 || height < 1 || width <= kMostPixels / height) return "";
  return std::to_string(width) + " x " + std::to_string(height) + " pixels, more than " +
         std::to_string(kMostPixels);
}

constexpr char kIncomplete[] = "damaged JPEG (a part of the picture is missing)";

// `frame`: where the frame's header (SOF) begins, after its length.  `data`: where the first scan's
// data begins.  Each block of 8 x 8 pixels takes at least one bit of that, in a Huffman code.
inline bool lacks_blocks(const Bytes& b, int64_t frame, int64_t data, int64_t restart_interval) {
  const int64_t height = b.big16(frame + 1), width = b.big16(frame + 3);
  int64_t across = 8, down = 8;  // pixels of the unit that the first scan counts by
  if (b.at(frame + 5) > 1) {
    for (int64_t i = 0; i < b.at(frame + 5); ++i) {
      const int64_t sampling = b.at(frame + 7 + 3 * i);
      across = across < 8 * (sampling >> 4) ? 8 * (sampling >> 4) : across;
      down = down < 8 * (sampling & 15) ? 8 * (sampling & 15) : down;
    }
  }
  const int64_t units = (width + across - 1) / across * ((height + down - 1) / down);
  if (units > (b.size() - data) * 8) return true;
  if (restart_interval == 0 || units <= restart_interval) return false;
  for (int64_t i = data; (i = b.find(i, "\xff", 1)) >= 0;
       ++i)  // no such mark, though it needs some
    if (b.at(i + 1) >= 0xd0 && b.at(i + 1) <= 0xd7) return false;
  return true;
}

inline std::string jpeg_fault(const Bytes& b) {
  int64_t frame = 0, restart_interval = 0;
  bool huffman = false;
  for (int64_t i = 2; i < b.size();) {
    if (b.at(i) != 0xff) return "";
    const uint32_t mark = b.at(i + 1);
    if (mark == 0xff || mark == 0x01 || (mark >= 0xd0 && mark <= 0xd8)) {  // without a length
      i += mark == 0xff ? 1 : 2;
      continue;
    }
    if (mark == 0xd9) return "";  // the end, without a picture
    const int64_t body = i + 4;
    if (mark == 0xdd) restart_interval = b.big16(body);
    if (mark >= 0xc0 && mark <= 0xcf && mark != 0xc4 && mark != 0xc8 && mark != 0xcc) {
      frame = body, huffman = mark <= 0xc2;
      const uint32_t bits = b.at(body), channels = b.at(body + 5);
      if (bits != 8) return "JPEG of " + std::to_string(bits) + " bits";
      if (channels != 1 && channels != 3 && channels != 4)
        return "JPEG of " + std::to_string(channels) + " channels";
      const std::string fault = size_fault(b.big16(body + 3), b.big16(body + 1));
      if (!fault.empty()) return fault;
    }
    i += 2 + b.big16(i + 2);
    if (mark == 0xda)
      return frame && huffman && lacks_blocks(b, frame, i, restart_interval) ? kIncomplete : "";
  }
  return "";
}

// The first picture's directory, of 12 bytes an entry: tag, type, number of values, values.
class TiffEntries {
 public:
  explicit TiffEntries(const Bytes& b) : b_(b), little_(b.at(0) == 'I') {
    start_ = read(4, 4) + 2;
    count_ = read(start_ - 2, 2);
  }

  // A value of a tag, where it has so many; the greatest, and `otherwise` if the tag is not there.
  int64_t greatest(uint32_t tag, int64_t otherwise) const {
    for (int64_t entry = start_; entry < start_ + 12 * count_; entry += 12) {
      if (read(entry, 2) != tag) continue;
      const int64_t bytes = read(entry + 2, 2) == 3 ? 2 : 4;  // 3: 16 bits, 4: 32 bits
      int64_t values = read(entry + 4, 4), most = 0;
      values = values < 16 ? values : 16;
      const int64_t at = values * bytes <= 4 ? entry + 8 : int64_t{read(entry + 8, 4)};
      for (int64_t i = 0; i < values; ++i) {
        const int64_t value = read(at + i * bytes, bytes);
        most = most < value ? value : most;
      }
      return most;
    }
    return otherwise;
  }

 private:
  uint32_t read(int64_t i, int64_t bytes) const {
    if (bytes == 2) return little_ ? b_.little16(i) : b_.big16(i);
    return little_ ? b_.little32(i) : b_.big32(i);
  }

  const Bytes& b_;
  bool little_;
  int64_t start_, count_;
};

inline std::string tiff_fault(const Bytes& b) {
  const TiffEntries entries(b);
  const int64_t bits = entries.greatest(258, 1), kind = entries.greatest(262, 1);
  const int64_t channels = entries.greatest(277, 1), numbers = entries.greatest(339, 1);
  if (numbers != 1) return "TIFF of pixels that are not unsigned whole numbers";
  if (bits > 16) return "TIFF of " + std::to_string(bits) + " bits";
  const bool grey = kind == 0 || kind == 1 || kind == 3;  // or a palette
  const bool colours = kind == 2 || kind == 5 || kind == 6;
  if (!grey && !colours) return "TIFF of colours of kind " + std::to_string(kind);
  if (grey && channels != 1) return "TIFF of " + std::to_string(channels) + " channels";
  return size_fault(entries.greatest(256, 0), entries.greatest(257, 0));
}

inline std::string pnm_fault(const Bytes& b) {
  const bool bitmap = b.at(1) == '1' || b.at(1) == '4';
  int64_t numbers[3] = {0, 0, 255}, i = 2;  // width, height and, but for a bitmap, the maximum
  for (int k = 0; k < (bitmap ? 2 : 3); ++k) {
    for (; b.at(i) == '#' || (b.at(i) && std::strchr(" \t\n\v\f\r", b.at(i))); ++i)
      if (b.at(i) == '#')
        while (i < b.size() && b.at(i) != '\n' && b.at(i) != '\r') ++i;
    int64_t value = 0;
    for (; b.at(i) >= '0' && b.at(i) <= '9'; ++i)
      value = value < kMostPixels ? 10 * value + b.at(i) - '0' : value;
    numbers[k] = value;
  }
  if (numbers[2] != 255) return "PNM with a maximum other than 255";
  return size_fault(numbers[0], numbers[1]);
}

// What is wrong with an encoded image; an empty text where nothing is found.
inline std::string header_fault(const uint8_t* data, int64_t size) {
  if (size > kMostBytes) return "more than " + std::to_string(kMostBytes) + " bytes";
  const Bytes b(data, size);
  if (b.has(0, "\xff\xd8\xff", 3)) return jpeg_fault(b);
  if (b.has(0, "\x89PNG\r\n\x1a\n", 8)) return size_fault(b.big32(16), b.big32(20));
  if (b.has(0, "RIFF", 4) && b.has(8, "WEBP", 4)) return "";  // at most 16383 x 16383 pixels
  if (b.has(0, "BM", 2)) {
    const int64_t height = static_cast<int32_t>(b.little32(22));  // negative: from the top down
    if (b.little32(14) == 12) return size_fault(b.little16(18), b.little16(20));
    return size_fault(b.little32(18), height < 0 ? -height : height);
  }
  if (b.has(0, "\0\0\0\x0cjP  ", 8) || b.has(0, "\xff\x4f\xff\x51", 4)) {
    const int64_t size_at = b.find(0, "\xff\x4f\xff\x51", 4) + 8;  // the picture on its grid
    if (size_at < 8) return "";
    return size_fault(int64_t{b.big32(size_at)} - b.big32(size_at + 8),
                      int64_t{b.big32(size_at + 4)} - b.big32(size_at + 12));
  }
  if (b.has(0, "II*\0", 4) || b.has(0, "MM\0*", 4)) return tiff_fault(b);
  if (b.at(0) == 'P' && b.at(1) >= '1' && b.at(1) <= '6') return pnm_fault(b);
  return "another format";
}

}  // namespace msda::native
