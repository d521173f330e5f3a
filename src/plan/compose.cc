// Composing works on numbers of elements in the view's source order. There the view's dimensions are the digits of a
// mixed radix: element e is at digit (e / weight[j]) % size[j] of dimension j, and each step of a digit moves
// target_stride[j] in the target. A box of the piece moves linearly in the target as long as no digit carries; where one
// does, the box is cut.
#include "plan/compose.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "plan/box.h"

namespace transload {
namespace {

constexpr std::size_t kMaxBoxes = 1 << 16;

// One dimension of elements of the piece, in elements.
struct Axis {
  std::int64_t size, in_piece, in_view;  // strides; in_view: of the number in the view's order
};

class Composer {
 public:
  Composer(const Box& view, std::uint64_t source_itemsize, std::uint64_t target_itemsize)
      : view_(view),
        source_itemsize_(source_itemsize),
        target_itemsize_(target_itemsize),
        weight_(view.shape.size()) {
    std::int64_t weight = 1;
    for (std::size_t j = view.shape.size(); j-- > 0;) {
      weight_[j] = weight;
      weight *= view.shape[j];
    }
    numel_ = weight;
  }

  // Elements of the piece: from `in_piece` there, number `in_view` of the view. Returns false if it takes too many boxes.
  bool add(std::vector<Axis> axes, std::int64_t in_piece, std::int64_t in_view) {
    std::erase_if(axes, [](const Axis& axis) { return axis.size == 1; });
    if (boxes_.size() >= kMaxBoxes) return false;
    if (axes.size() == 1 && axes[0].in_view == 1) return add_run(axes[0], in_piece, in_view);
    if (!carries(axes, in_view)) {
      emit(axes, in_piece, in_view);
      return true;
    }
    if (refine(axes, in_view)) return add(std::move(axes), in_piece, in_view);
    // Slices of the outermost dimension, as many at a time as go together.
    const Axis outer = axes.front();
    for (std::int64_t k = 0; k < outer.size;) {
      std::int64_t together = 1;
      axes.front().size = outer.size - k;
      const std::int64_t here = in_view + k * outer.in_view;
      if (!carries(axes, here)) {
        together = outer.size - k;
      } else {
        axes.front().size = 2;
        while (together < outer.size - k && !carries(axes, here)) ++together, ++axes.front().size;
      }
      std::vector<Axis> slice = axes;
      slice.front().size = together;
      if (!add(std::move(slice), in_piece + k * outer.in_piece, here)) return false;
      k += together;
    }
    return true;
  }

  // The same of elements that may lie before or behind those of the view.
  bool add_inside(std::vector<Axis> axes, std::int64_t in_piece, std::int64_t in_view) {
    std::int64_t inner = 0;  // from the first to the last element of a slice
    for (std::size_t i = 1; i < axes.size(); ++i) inner += (axes[i].size - 1) * axes[i].in_view;
    if (axes.empty()) return in_view < 0 || in_view >= numel_ || add({}, in_piece, in_view);
    const Axis outer = axes.front();
    const std::int64_t last = in_view + (outer.size - 1) * outer.in_view + inner;
    if (last < 0 || in_view >= numel_) return true;
    if (in_view >= 0 && last < numel_) return add(std::move(axes), in_piece, in_view);
    // The slices that reach into the view.
    const auto up = [](std::int64_t a, std::int64_t b) { return a <= 0 ? 0 : (a + b - 1) / b; };
    const std::int64_t begin = up(-in_view - inner, outer.in_view);
    const std::int64_t end = std::min(outer.size, up(numel_ - in_view, outer.in_view));
    if (axes.size() == 1) {
      axes.front().size = end - begin;
      return end <= begin || add(std::move(axes), in_piece + begin * outer.in_piece,
                                 in_view + begin * outer.in_view);
    }
    axes.erase(axes.begin());
    for (std::int64_t k = begin; k < end; ++k) {
      if (++slices_ > kMaxBoxes ||
          !add_inside(axes, in_piece + k * outer.in_piece, in_view + k * outer.in_view))
        return false;
    }
    return true;
  }

  std::vector<Box> take() { return std::move(boxes_); }

 private:
  std::int64_t digit(std::int64_t number, std::size_t j) const {
    return number / weight_[j] % view_.shape[j];
  }

  // Whether a digit overflows on the way from element `from` to the last one of `axes`.
  bool carries(const std::vector<Axis>& axes, std::int64_t from) const {
    for (std::size_t j = 0; j < weight_.size(); ++j) {
      std::int64_t last = digit(from, j);
      for (const Axis& axis : axes) last += (axis.size - 1) * digit(axis.in_view, j);
      if (last >= view_.shape[j]) return true;
    }
    return false;
  }

  // Cuts an axis in two where it goes through whole rows of the view: [6 elements] becomes [2 rows, 3 elements].
  bool refine(std::vector<Axis>& axes, std::int64_t from) const {
    for (std::size_t i = 0; i < axes.size(); ++i) {
      const Axis axis = axes[i];
      for (std::size_t j = weight_.size(); j-- > 1;) {
        const std::int64_t row = weight_[j - 1];
        if (axis.in_view >= row || row % axis.in_view != 0) continue;
        const std::int64_t in_row = row / axis.in_view;
        if (axis.size <= in_row || axis.size % in_row != 0 || from % row >= axis.in_view) continue;
        axes[i] = {axis.size / in_row, axis.in_piece * in_row, row};
        axes.insert(axes.begin() + static_cast<std::ptrdiff_t>(i) + 1,
                    {in_row, axis.in_piece, axis.in_view});
        return true;
      }
    }
    return false;
  }

  // A run of consecutive elements: up to the end of a row, whole rows, and what is left; the whole rows are a run of the
  // next dimension, and so on.
  bool add_run(const Axis& run, std::int64_t in_piece, std::int64_t in_view) {
    std::vector<Axis> inside;  // dimensions that the run covers whole
    std::int64_t left = run.size, unit = 1;
    std::vector<std::pair<std::vector<Axis>, std::int64_t>> tails;  // and their elements
    for (std::size_t j = weight_.size(); left > 0; --j) {
      const std::int64_t room = j > 1 ? view_.shape[j - 1] - digit(in_view, j - 1) : left / unit;
      const auto some = [&](std::int64_t count) {
        std::vector<Axis> axes{{count, unit * run.in_piece, unit}};
        axes.insert(axes.end(), inside.begin(), inside.end());
        return axes;
      };
      if (j <= 1 || left / unit <= room) {  // it ends in this dimension
        if (left / unit > 0) emit(some(left / unit), in_piece, in_view);
        in_piece += left / unit * unit * run.in_piece;
        in_view += left / unit * unit;
        break;
      }
      if (room < view_.shape[j - 1]) {  // to the end of the row that it begins in
        emit(some(room), in_piece, in_view);
        in_piece += room * unit * run.in_piece;
        in_view += room * unit;
        left -= room * unit;
      }
      const std::int64_t row = unit * view_.shape[j - 1];
      if (const std::int64_t tail = left % row / unit; tail > 0) {
        tails.emplace_back(some(tail), tail * unit);
        left -= tail * unit;
      }
      inside.insert(inside.begin(), {view_.shape[j - 1], unit * run.in_piece, unit});
      unit = row;
    }
    for (auto tail = tails.rbegin(); tail != tails.rend(); ++tail) {
      emit(tail->first, in_piece, in_view);
      in_piece += tail->second * run.in_piece;
      in_view += tail->second;
    }
    return true;
  }

  void emit(const std::vector<Axis>& axes, std::int64_t in_piece, std::int64_t in_view) {
    std::vector<std::int64_t> shape, source, target;
    const auto moved = [&](std::int64_t number) {
      std::int64_t elements = 0;
      for (std::size_t j = 0; j < weight_.size(); ++j)
        elements += digit(number, j) * view_.target_stride[j];
      return elements;
    };
    for (const Axis& axis : axes) {
      shape.push_back(axis.size);
      source.push_back(axis.in_piece);
      target.push_back(moved(axis.in_view));
    }
    boxes_.push_back(in_source_order(
        {shape, source, target, static_cast<std::uint64_t>(in_piece) * source_itemsize_,
         view_.target_origin + static_cast<std::uint64_t>(moved(in_view)) * target_itemsize_}));
  }

  const Box& view_;
  std::uint64_t source_itemsize_, target_itemsize_;
  std::vector<std::int64_t> weight_;
  std::int64_t numel_ = 1;
  std::vector<Box> boxes_;
  std::size_t slices_ = 0;  // that were cut because a part of the piece is outside of the view
};

// The elements of a piece, outermost in the storage first. Empty if they cannot be counted in `itemsize`.
std::optional<std::vector<Axis>> axes_of(const Piece& piece, std::uint64_t itemsize) {
  if (!piece.box) {
    if (piece.nbytes % itemsize != 0) return std::nullopt;
    return std::vector<Axis>{{static_cast<std::int64_t>(piece.nbytes / itemsize), 1, 1}};
  }
  if (piece.itemsize % itemsize != 0) return std::nullopt;
  const auto parts = static_cast<std::int64_t>(piece.itemsize / itemsize);
  std::vector<Axis> axes;
  for (std::size_t d = 0; d < piece.box->shape.size(); ++d)
    axes.push_back({piece.box->shape[d], piece.box->source_stride[d] * parts,
                    piece.box->target_stride[d] * parts});
  if (parts > 1) axes.push_back({parts, 1, 1});
  std::erase_if(axes, [](const Axis& axis) { return axis.size == 1; });
  std::ranges::stable_sort(axes, std::greater(), &Axis::in_view);
  return axes;
}

}  // namespace

bool can_be_composed(const Box& view) {
  std::int64_t expected = 1;
  for (std::size_t d = view.shape.size(); d-- > 0;) {
    if (view.source_stride[d] != expected) return false;
    expected *= view.shape[d];
  }
  return true;
}

std::optional<std::vector<Box>> compose(const Piece& piece, const Box& view,
                                        std::uint64_t source_itemsize,
                                        std::uint64_t target_itemsize) {
  const auto axes = axes_of(piece, source_itemsize);
  const auto size = static_cast<std::int64_t>(source_itemsize);
  const std::uint64_t begin = piece.box ? piece.box->target_origin : piece.byte_offset;
  const auto bytes_before = static_cast<std::int64_t>(begin - view.source_origin);
  const std::uint64_t in_piece = piece.box ? piece.box->source_origin : 0;
  if (!axes || bytes_before % size != 0 || in_piece % source_itemsize != 0) return std::nullopt;
  Composer composer(view, source_itemsize, target_itemsize);
  if (!composer.add_inside(*axes, static_cast<std::int64_t>(in_piece / source_itemsize),
                           bytes_before / size))
    return std::nullopt;
  return composer.take();
}

}  // namespace transload
