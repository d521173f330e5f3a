// str(tensor): prints a tensor exactly as Python does. The rules of pytorch torch/_tensor_str.py,
// in the order they are applied here: beyond 1000 elements only the first and last three of each
// dimension are shown; the shown values decide the notation and the column width; lines break
// before column 80; suffixes follow. Two known differences: torch takes the NaN of float8_e8m0fnu
// for finite and its smallest number for zero, which changes the columns; torch shows other signs
// of zero if both the conj and the neg bit are set.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "transload/tensor.h"
#include "types/scalar.h"

namespace transload {
namespace {

// pytorch torch/_tensor_str.py, __PrinterOptions
constexpr std::int64_t kThreshold = 1000;
constexpr std::int64_t kEdgeItems = 3;
constexpr std::size_t kLineWidth = 80;
constexpr std::size_t kIndent = 7;  // of "tensor("

// The shown elements as texts, in row-major order.
struct Shown {
  std::vector<std::int64_t> shape;
  // For each dimension: whether "..." replaces all but the first three and the last three.
  std::vector<bool> cut;
  std::vector<std::string> texts;
  std::size_t width = 0;  // column width in characters
};

// Appends the bytes of the shown elements in row-major order. Takes cut dimensions apart index by
// index, so that only the shown elements of a large tensor are copied from a GPU.
void gather(const Tensor& part, std::size_t dim, const std::vector<bool>& cut,
            std::vector<std::byte>& bytes) {
  if (std::none_of(cut.begin() + static_cast<std::ptrdiff_t>(dim), cut.end(),
                   [](bool is_cut) { return is_cut; })) {
    const std::vector<std::byte> more = element_bytes(part);
    bytes.insert(bytes.end(), more.begin(), more.end());
    return;
  }
  const std::int64_t size = part.shape()[dim];
  Dims one = part.shape();
  one[dim] = 1;
  for (std::int64_t i = 0; i < size; ++i) {
    if (cut[dim] && i == kEdgeItems) i = size - kEdgeItems;
    const std::int64_t offset = part.storage_offset() + i * part.stride()[dim];
    gather(Tensor(part.storage(), part.dtype(), one, part.stride(), offset), dim + 1, cut, bytes);
  }
}

double value_as_double(Dtype dtype, const std::byte* element) {
  // torch shows a pair of float4 numbers as its byte.
  return element_as_double(dtype == Dtype::float4_e2m1fn_x2 ? Dtype::uint8 : dtype, element);
}

// Formats a number as Python's format() does. A NaN has no sign.
std::string number(double value, bool scientific, int digits) {
  if (std::isnan(value)) return "nan";
  // The longest double has 309 digits before the point.
  std::array<char, 400> text;
  const auto form = scientific ? std::chars_format::scientific : std::chars_format::fixed;
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value, form, digits).ptr;
  return {text.data(), end};
}

void align(std::vector<std::string>& texts, std::size_t width) {
  for (std::string& text : texts)
    if (text.size() < width) text.insert(0, width - text.size(), ' ');
}

// Formats floating point numbers: "1." if all are whole, otherwise with 4 digits, in scientific
// notation if they are too far apart. Only finite nonzero numbers decide that and the width.
// Returns the column width.
std::size_t float_texts(const std::vector<double>& values, std::vector<std::string>& texts) {
  const auto counts = [](double value) { return std::isfinite(value) && value != 0; };
  double smallest = INFINITY, largest = 0;
  bool whole = true;
  for (const double value : values)
    if (counts(value)) {
      smallest = std::min(smallest, std::fabs(value));
      largest = std::max(largest, std::fabs(value));
      whole = whole && value == std::ceil(value);
    }
  const bool scientific =
      largest > 0 && (largest / smallest > 1000 || largest > 1e8 || smallest < 1e-4);
  std::size_t width = 1;
  for (const double value : values) {
    std::string text = number(value, scientific, whole && !scientific ? 0 : 4);
    if (whole && !scientific && std::isfinite(value)) text += '.';
    if (counts(value)) width = std::max(width, text.size());
    texts.push_back(std::move(text));
  }
  align(texts, width);
  return width;
}

std::size_t integer_texts(Dtype dtype, const std::vector<std::byte>& bytes,
                          std::vector<std::string>& texts) {
  std::size_t width = 1;
  const std::uint64_t step = itemsize(dtype);
  for (std::size_t at = 0; at < bytes.size(); at += step) {
    std::string text;
    if (dtype == Dtype::boolean) {
      text = bytes[at] == std::byte{0} ? "False" : "True";
    } else if (dtype == Dtype::uint64) {
      std::uint64_t value;
      std::memcpy(&value, &bytes[at], sizeof value);
      text = std::to_string(value);
    } else {
      std::int64_t value;
      cast_elements(dtype, &bytes[at], Dtype::int64, reinterpret_cast<std::byte*>(&value), 1);
      text = std::to_string(value);
    }
    width = std::max(width, text.size());
    texts.push_back(std::move(text));
  }
  align(texts, width);
  return width;
}

// Formats complex numbers, "1.0000+2.0000j". The real and the imaginary parts choose their notation
// separately.
std::size_t complex_texts(const std::vector<double>& real, const std::vector<double>& imaginary,
                          std::vector<std::string>& texts) {
  std::vector<std::string> second;
  const std::size_t width = float_texts(real, texts) + float_texts(imaginary, second) + 1;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const std::string part = second[i].substr(second[i].find_first_not_of(' '));
    texts[i] += (part[0] == '-' ? "" : "+") + part + "j";
  }
  return width;
}

// Returns the dtype as which the elements are read: the dtype itself if it can be cast, otherwise
// an integer of its size, as torch does for float4.
Dtype readable(Dtype dtype) {
  if (can_cast(dtype, Dtype::float64) || dtype == Dtype::float4_e2m1fn_x2) return dtype;
  switch (dtype) {
    case Dtype::qint8:
      return Dtype::int8;
    case Dtype::qint32:
      return Dtype::int32;
    case Dtype::bits16:
      return Dtype::uint16;
    default:
      return Dtype::uint8;
  }
}

void make_texts(const Tensor& tensor, const std::vector<std::byte>& bytes, Shown& shown) {
  const Dtype dtype = readable(tensor.dtype());
  const double sign = tensor.neg ? -1 : 1;
  const DtypeKind kind = info(dtype).kind;
  if (kind != DtypeKind::floating && kind != DtypeKind::complex) {
    shown.width = integer_texts(dtype, bytes, shown.texts);
    return;
  }
  std::vector<double> real, imaginary;
  const std::size_t step = itemsize(dtype), half = step / 2;
  const Dtype part = dtype == Dtype::complex32   ? Dtype::float16
                     : dtype == Dtype::complex64 ? Dtype::float32
                                                 : Dtype::float64;
  for (std::size_t at = 0; at < bytes.size(); at += step) {
    real.push_back(sign * value_as_double(dtype, &bytes[at]));
    if (kind == DtypeKind::complex)
      imaginary.push_back((tensor.conj ? -sign : sign) * value_as_double(part, &bytes[at + half]));
  }
  shown.width = kind == DtypeKind::complex ? complex_texts(real, imaginary, shown.texts)
                                           : float_texts(real, shown.texts);
}

Shown shown_elements(const Tensor& tensor) {
  Shown shown;
  for (const std::int64_t size : tensor.shape()) {
    shown.cut.push_back(tensor.numel() > kThreshold && size > 2 * kEdgeItems);
    shown.shape.push_back(shown.cut.back() ? 2 * kEdgeItems : size);
  }
  std::vector<std::byte> bytes;
  gather(tensor, 0, shown.cut, bytes);
  make_texts(tensor, bytes, shown);
  return shown;
}

// Returns one row of the innermost dimension, broken into lines. `next` is the index of its first
// text.
std::string row(const Shown& shown, std::size_t next, std::size_t indent) {
  const auto size = static_cast<std::size_t>(shown.shape.back());
  std::vector<std::string> items(shown.texts.begin() + static_cast<std::ptrdiff_t>(next),
                                 shown.texts.begin() + static_cast<std::ptrdiff_t>(next + size));
  if (shown.cut.back()) items.insert(items.begin() + kEdgeItems, " ...");
  const std::size_t room = indent < kLineWidth ? kLineWidth - indent : 0;
  const std::size_t per_line = std::max<std::size_t>(1, room / (shown.width + 2));
  std::string text = "[";
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i > 0) text += i % per_line == 0 ? ",\n" + std::string(indent + 1, ' ') : ", ";
    text += items[i];
  }
  return text + "]";
}

// Returns dimension `dim` and the inner ones in brackets. Advances `next` past the texts it used.
std::string brackets(const Shown& shown, std::size_t dim, std::size_t& next, std::size_t indent) {
  const std::size_t inner = shown.shape.size() - dim;  // remaining dimensions, including this one
  if (inner == 1) {
    const std::size_t first = next;
    next += static_cast<std::size_t>(shown.shape[dim]);
    return row(shown, first, indent);
  }
  const std::string separator = "," + std::string(inner - 1, '\n') + std::string(indent + 1, ' ');
  std::string text = "[";
  for (std::int64_t i = 0; i < shown.shape[dim]; ++i) {
    if (i > 0) text += separator;
    if (i == kEdgeItems && shown.cut[dim]) text += "..." + separator;
    text += brackets(shown, dim + 1, next, indent + 1);
  }
  return text + "]";
}

std::string values_text(const Tensor& tensor) {
  if (tensor.numel() == 0) return "[]";
  const Shown shown = shown_elements(tensor);
  if (tensor.shape().empty()) return shown.texts.front();
  std::size_t next = 0;
  return brackets(shown, 0, next, kIndent);
}

std::string size_text(const Dims& shape) {
  std::string text = shape.str();
  text.front() = '(';
  text.back() = ')';
  if (shape.size() == 1) text.insert(text.size() - 1, ",");
  return "size=" + text;
}

std::vector<std::string> suffixes(const Tensor& tensor, bool hidden) {
  std::vector<std::string> all;
  const Dtype dtype = tensor.dtype();
  // Without visible values, only float32 is left out.
  const bool nothing = hidden || tensor.numel() == 0;
  const bool obvious =
      dtype == Dtype::float32 ||
      (!nothing && (dtype == Dtype::int64 || dtype == Dtype::boolean || dtype == Dtype::complex64));
  if (tensor.device() != kCpu) all.push_back("device='" + tensor.device().str() + "'");
  if (hidden || (nothing && tensor.shape().size() != 1)) all.push_back(size_text(tensor.shape()));
  if (!obvious) all.push_back("dtype=torch." + std::string(name(dtype)));
  if (tensor.requires_grad) all.push_back("requires_grad=True");
  return all;
}

}  // namespace

std::string str(const Tensor& tensor) {
  // Tensors on meta have no values, and the elements of packed dtypes cannot be read one by one.
  const bool hidden = tensor.device() == kMeta || info(tensor.dtype()).bits < 8;
  std::string text = "tensor(" + (hidden ? std::string("...") : values_text(tensor));
  const std::size_t last_newline = text.rfind('\n');
  // torch counts two characters too many on the first line and one too many on later lines.
  std::size_t line =
      last_newline == std::string::npos ? text.size() + 2 : text.size() - last_newline + 1;
  for (const std::string& suffix : suffixes(tensor, hidden)) {
    if (line + suffix.size() + 2 > kLineWidth) {
      text += ",\n" + std::string(kIndent, ' ') + suffix;
      line = kIndent + suffix.size();
    } else {
      text += ", " + suffix;
      line += suffix.size() + 2;
    }
  }
  return (tensor.is_parameter ? "Parameter containing:\n" : "") + text + ")";
}

}  // namespace transload
