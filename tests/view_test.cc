// Views: slices, narrow and select give the elements that NumPy's and torch's would.
#include "transload/view.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "transload/error.h"

namespace transload {
namespace {

// Elements in row-major order, as float32.
std::vector<float> values(const Tensor& tensor) {
  const std::vector<std::byte> bytes = element_bytes(tensor);
  std::vector<float> result(bytes.size() / sizeof(float));
  if (!bytes.empty()) std::memcpy(result.data(), bytes.data(), bytes.size());
  return result;
}

// 0 to 23 in two rows of three by four.
Tensor counted() {
  std::vector<float> numbers(24);
  for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<float>(i);
  return from_values(numbers, {2, 3, 4});
}

std::string message_of(const auto& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(View, APositionRemovesItsDimension) {
  const Tensor view = slice(counted(), {1, -1});
  EXPECT_EQ(view.shape(), (Dims{4}));
  EXPECT_EQ(values(view), (std::vector<float>{20, 21, 22, 23}));
}

TEST(View, ASliceTakesEachStepthPosition) {
  const Tensor view = slice(counted(), {0, Slice{0, {}, 2}, Slice{1, -1}});
  EXPECT_EQ(view.shape(), (Dims{2, 2}));
  EXPECT_EQ(values(view), (std::vector<float>{1, 2, 9, 10}));
}

TEST(View, AStepThatDoesNotDivideTheSizeTakesTheLastPart) {
  EXPECT_EQ(values(slice(counted(), {0, 0, Slice{0, {}, 3}})), (std::vector<float>{0, 3}));
  EXPECT_EQ(values(slice(counted(), {0, 0, Slice{1, {}, INT64_MAX}})), (std::vector<float>{1}));
}

TEST(View, SlicesBeyondTheEndsAreCutAndMayBeEmpty) {
  EXPECT_EQ(slice(counted(), {Slice{-9, 9}}).shape(), (Dims{2, 3, 4}));
  const Tensor none = slice(counted(), {Slice{}, Slice{3, 1}});
  EXPECT_EQ(none.shape(), (Dims{2, 0, 4}));
  EXPECT_EQ(none.storage_offset(), 0);
}

TEST(View, AnEllipsisStandsForTheOtherDimensions) {
  EXPECT_EQ(values(slice(counted(), {kEllipsis, 3})), (std::vector<float>{3, 7, 11, 15, 19, 23}));
  EXPECT_EQ(slice(counted(), {1, kEllipsis, 0}).shape(), (Dims{3}));
  EXPECT_EQ(slice(counted(), {0, 0, 0, kEllipsis}).shape(), (Dims{}));
}

TEST(View, SharesTheStorageAndKeepsItsFlags) {
  Tensor whole = counted();
  whole.conj = whole.requires_grad = whole.is_parameter = true;
  const Tensor view = slice(whole, {1});
  EXPECT_EQ(view.storage().identity(), whole.storage().identity());
  EXPECT_EQ(view.storage_offset(), 12);
  EXPECT_TRUE(view.conj);
  EXPECT_FALSE(view.neg);
  EXPECT_TRUE(view.requires_grad);
  EXPECT_FALSE(view.is_parameter);  // a view of one is not one, as torch has it
}

TEST(View, OfAViewAddsUp) {
  const Tensor transposed(counted().storage(), Dtype::float32, {4, 3}, {1, 4}, 12);
  EXPECT_EQ(values(slice(transposed, {Slice{1, 3}, 2})), (std::vector<float>{21, 22}));
}

TEST(View, OnMetaNeedsNoBytes) {
  const Tensor meta = empty({1'000'000'000, 1000}, Dtype::float64, kMeta);
  const Tensor rows = slice(meta, {Slice{-5, {}}});
  EXPECT_EQ(rows.shape(), (Dims{5, 1000}));
  EXPECT_EQ(rows.storage_offset(), 999'999'995'000);
}

TEST(View, NarrowTakesALengthAndSelectOnePosition) {
  EXPECT_EQ(values(narrow(slice(counted(), {0}), 1, -2, 2)),
            (std::vector<float>{2, 3, 6, 7, 10, 11}));
  EXPECT_EQ(values(select(slice(counted(), {0}), -1, 1)), (std::vector<float>{1, 5, 9}));
  EXPECT_EQ(narrow(counted(), 0, 2, 0).shape(), (Dims{0, 3, 4}));
}

TEST(View, SaysWhatIsOutOfBounds) {
  EXPECT_EQ(message_of([] {
              slice(counted(), {Slice{}, 3});
            }),
            "index 3 is out of bounds for dimension 1 of a tensor of shape [2, 3, 4]");
  EXPECT_EQ(message_of([] { slice(counted(), {-3}); }),
            "index -3 is out of bounds for dimension 0 of a tensor of shape [2, 3, 4]");
  EXPECT_EQ(message_of([] {
              slice(counted(), {0, 0, 0, 0});
            }),
            "4 indices for a tensor of shape [2, 3, 4]");
  EXPECT_EQ(message_of([] {
              slice(counted(), {kEllipsis, kEllipsis});
            }),
            "more than one ellipsis for a tensor of shape [2, 3, 4]");
  EXPECT_EQ(message_of([] {
              slice(counted(), {Slice{{}, {}, -1}});
            }),
            "step -1 in dimension 0 of a tensor of shape [2, 3, 4]: steps must be positive; read "
            "forwards and flip the result");
  EXPECT_THROW(narrow(counted(), 0, 1, 2), Error);
  EXPECT_THROW(narrow(counted(), 0, 0, -1), Error);
  EXPECT_THROW(narrow(counted(), 3, 0, 1), Error);
  EXPECT_THROW(select(counted(), -4, 0), Error);
}

}  // namespace
}  // namespace transload
