// Changes, cuts off and puts in bytes of the image files that it is given, and reads the headers of
// what comes of it.  Each copy is as long as it must be, so that ASan sees any read past its end.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <vector>

#include "encoded/image_header.h"

using File = std::vector<uint8_t>;

static File mutant(const File& file, std::mt19937& random) {
  File copy = file;
  for (int changes = 1 + random() % 3; changes > 0 && !copy.empty(); --changes) {
    const size_t near = random() % 4 ? 64 : copy.size();
    const auto at = copy.begin() + random() % std::min(near, copy.size());
    switch (random() % 8) {
      case 0:
        copy.erase(at, copy.end());
        break;
      case 1:
        copy.erase(at);
        break;
      case 2:
        copy.insert(at, static_cast<uint8_t>(random()));
        break;
      default:
        *at = static_cast<uint8_t>(random() % 3 ? random() : 255);
    }
  }
  return copy;
}

int main(int argc, char** argv) {
  const int count = std::atoi(argv[1]);
  std::mt19937 random(1);
  long refused = 0;
  for (int i = 2; i < argc; ++i) {
    std::ifstream stream(argv[i], std::ios::binary);
    const File file((std::istreambuf_iterator<char>(stream)), {});
    for (int k = 0; k < count; ++k) {
      const File changed = mutant(file, random);
      const std::unique_ptr<uint8_t[]> exact(new uint8_t[changed.size()]);
      std::copy(changed.begin(), changed.end(), exact.get());
      refused += !msda::native::header_fault(exact.get(), changed.size()).empty();
    }
  }
  std::printf("%ld refused\n", refused);
}
