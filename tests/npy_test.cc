// NumPy's .npy and .npz: read as tensors, checked, and never unpickled.
#include <cstring>

#include "archive/zip_write.h"
#include "io/crc32.h"
#include "small_model.h"

namespace transload {
namespace {

using Npy = TestFolder;

std::string npy(const std::string& descr, const std::string& shape, const std::string& bytes,
                bool is_fortran = false) {
  std::string header = "{'descr': '" + descr +
                       "', 'fortran_order': " + (is_fortran ? "True" : "False") +
                       ", 'shape': " + shape + ", }";
  header.resize((header.size() + 10 + 64) / 64 * 64 - 10 - 1, ' ');
  header += '\n';
  const auto nbytes = static_cast<std::uint16_t>(header.size());
  std::string text = std::string("\x93NUMPY\1\0", 8);
  text.append(reinterpret_cast<const char*>(&nbytes), 2);
  return text + header + bytes;
}

std::string floats(std::initializer_list<float> numbers) {
  std::string bytes(numbers.size() * 4, '\0');
  std::memcpy(bytes.data(), numbers.begin(), bytes.size());
  return bytes;
}

StateDict loaded(const std::string& text) { return load(open(file_in_memory("a.npy", text))); }

std::string zip_of(const std::string& name, const std::string& bytes, std::uint32_t crc32) {
  ZipLayout zip(64);
  zip.add(name, bytes.size());
  return zip.header(0) + bytes + zip.descriptor(0, crc32) + zip.directory({crc32});
}

TEST_F(Npy, AnArrayIsATensor) {
  const Tensor tensor = loaded(npy("<f4", "(2, 3)", floats({1, 2, 3, 4, 5, 6}))).root().tensor();
  EXPECT_EQ(tensor.shape(), (Dims{2, 3}));
  EXPECT_EQ(values(tensor), (std::vector<float>{1, 2, 3, 4, 5, 6}));
}

TEST_F(Npy, AnArrayInColumnsKeepsItsStrides) {
  const Tensor tensor =
      loaded(npy("<f4", "(2, 3)", floats({1, 4, 2, 5, 3, 6}), true)).root().tensor();
  EXPECT_EQ(tensor.stride(), (Dims{1, 2}));
  EXPECT_EQ(values(tensor), (std::vector<float>{1, 2, 3, 4, 5, 6}));
}

TEST_F(Npy, BigEndianElementsAreSwapped) {
  const Tensor tensor = loaded(npy(">i2", "(2,)", std::string("\0\1\1\0", 4))).root().tensor();
  const auto bytes = element_bytes(tensor);
  EXPECT_EQ(bytes,
            (std::vector<std::byte>{std::byte{1}, std::byte{0}, std::byte{0}, std::byte{1}}));
}

TEST_F(Npy, AnArrayOfObjectsIsRefused) {
  EXPECT_NE(message([&] { loaded(npy("|O", "(1,)", "pickle")); }).find("array of Python objects"),
            std::string::npos);
}

TEST_F(Npy, ALengthThatIsNotThatOfTheShapeIsRefused) {
  EXPECT_NE(message([&] {
              loaded(npy("<f4", "(3,)", floats({1, 2})));
            }).find("needs 12 bytes"),
            std::string::npos);
  EXPECT_NE(message([&] {
              loaded(npy("<f4", "(1,)", floats({1, 2})));
            }).find("needs 4 bytes"),
            std::string::npos);
  EXPECT_NE(message([&] { loaded(npy("<f8", "(4611686018427387904, 4)", "")); }).find("size"),
            std::string::npos);
}

TEST_F(Npy, EveryTruncationIsRefused) {
  const std::string whole = npy("<f4", "(2,)", floats({1, 2}));
  for (std::size_t n = 0; n < whole.size(); ++n)
    EXPECT_THROW(loaded(whole.substr(0, n)), Error) << n;
}

TEST_F(Npy, AnArchiveIsADictOfItsArrays) {
  const std::string array = npy("<f4", "(2,)", floats({1, 2}));
  const std::uint32_t crc32 = crc32_of(std::as_bytes(std::span(array)));
  const Index index = open(file_in_memory("a.npz", zip_of("w.npy", array, crc32)));
  EXPECT_EQ(index.format, "npz");
  EXPECT_EQ(values(load(index, {.verify = true}).tensor("w")), (std::vector<float>{1, 2}));
}

TEST_F(Npy, ADamagedArrayInAnArchiveIsNamed) {
  const std::string array = npy("<f4", "(2,)", floats({1, 2}));
  const std::uint32_t crc32 = crc32_of(std::as_bytes(std::span(array)));
  std::string damaged = array;
  damaged.back() ^= 1;
  const Index index = open(file_in_memory("a.npz", zip_of("w.npy", damaged, crc32)));
  EXPECT_NE(message([&] { load(index, {.verify = true}); }).find("\"w\""), std::string::npos);
}

}  // namespace
}  // namespace transload
