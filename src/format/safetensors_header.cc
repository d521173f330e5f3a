#include "format/safetensors_header.h"

#include <limits>
#include <optional>

#include <rapidjson/error/en.h>
#include <rapidjson/reader.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include "transload/error.h"
#include "types/checked.h"
#include "types/utf8.h"

namespace transload {
namespace {

constexpr std::string_view kMetadata = "__metadata__";  // safetensors/src/tensor.rs, HashMetadata
constexpr std::uint64_t kAlignment =
    8;  // of the header's end: safetensors/src/tensor.rs, serialize
constexpr std::size_t kMaxDimensions = 64;  // torch allows no more: c10/core/TensorImpl.h
constexpr std::size_t kMaxNesting =
    125;  // the reference's JSON reader stops at 128 levels, three are above

std::string quote(std::string_view name) { return "\"" + std::string(name) + "\""; }

// Told by the JSON reader what comes next, it keeps track of where in the header that is. Anything out of place ends
// the parse with error().
class HeaderHandler {
 public:
  explicit HeaderHandler(SafetensorsHeader& header) : header_(header) {}
  const std::string& error() const { return error_; }

  bool StartObject() {
    switch (at_) {
      case At::document:
        return go(At::name);
      case At::entry:
        return go(At::field);
      case At::metadata:
        return go(At::metadata_key);
      case At::unknown:
        return open();
      default:
        return wrong("an object");
    }
  }
  bool EndObject(rapidjson::SizeType) {
    switch (at_) {
      case At::field:
        return finish_entry() && go(At::name);
      case At::metadata_key:
        return go(At::name);
      case At::unknown:
        return close();
      default:
        return true;  // of the whole header
    }
  }
  bool StartArray() {
    switch (at_) {
      case At::shape:
        return go(At::shape_list);
      case At::offsets:
        return go(At::offsets_list);
      case At::unknown:
        return open();
      default:
        return wrong("a list");
    }
  }
  bool EndArray(rapidjson::SizeType) { return at_ == At::unknown ? close() : go(At::field); }

  bool Key(const char* chars, rapidjson::SizeType size, bool) {
    const std::string_view key(chars, size);
    if (has_surrogate(key)) return fail(kSurrogate);
    switch (at_) {
      case At::name:
        return start_entry(key);
      case At::field:
        return start_field(key);
      case At::metadata_key:
        name_ = key;
        return go(At::metadata_text);
      default:
        return true;
    }
  }
  bool String(const char* chars, rapidjson::SizeType size, bool) {
    const std::string_view text(chars, size);
    if (has_surrogate(text)) return fail(kSurrogate);
    switch (at_) {
      case At::dtype:
        return set_dtype(text) && go(At::field);
      case At::metadata_text:
        if (!header_.metadata.emplace(name_, text).second)
          return fail("the metadata has " + quote(name_) + " twice");
        return go(At::metadata_key);
      default:
        return plain_value("a text");
    }
  }
  bool Uint64(std::uint64_t value) {
    if (at_ == At::shape_list) return add_size(value);
    if (at_ == At::offsets_list) return add_offset(value);
    return plain_value("a number");
  }
  bool Uint(unsigned value) { return Uint64(value); }
  bool Int(int) { return plain_value("a negative number"); }
  bool Int64(std::int64_t) { return plain_value("a negative number"); }
  bool Double(double) { return plain_value("a number that is no whole number of 64 bits"); }
  bool RawNumber(const char*, rapidjson::SizeType, bool) { return plain_value("a number"); }
  bool Bool(bool) { return plain_value("a bool"); }
  bool Null() { return at_ == At::metadata ? go(At::name) : plain_value("null"); }

 private:
  static constexpr const char* kSurrogate = "half of a UTF-16 pair, which is no character";

  // What comes next.
  enum class At {
    document,  // the object that is the header
    name,
    entry,  // a tensor's name or the end; its entry
    field,
    dtype,
    shape,
    offsets,
    unknown,  // a field of the entry or its end; the value of each
    shape_list,
    offsets_list,  // a number or the end
    metadata,
    metadata_key,
    metadata_text,  // their object; a key or the end; the text for it
  };

  bool go(At next) {
    at_ = next;
    return true;
  }
  bool fail(std::string error) {
    error_ = std::move(error);
    return false;
  }
  bool fail_entry(const std::string& what) {
    return fail("tensor " + quote(entry_.name) + ": " + what);
  }

  bool wrong(std::string_view found) {
    const auto expected = [](const char* what, std::string_view is) {
      return std::string(what) + " expected, found " + std::string(is);
    };
    switch (at_) {
      case At::document:
        return fail(expected("the header: an object", found));
      case At::metadata:
        return fail(expected("__metadata__: an object of texts", found));
      case At::metadata_text:
        return fail("__metadata__, " + quote(name_) + expected(": a text", found));
      case At::entry:
        return fail_entry(expected("an object with dtype, shape and data_offsets", found));
      case At::dtype:
        return fail_entry(expected("dtype: a text", found));
      case At::shape:
      case At::shape_list:
        return fail_entry(expected("shape: a list of whole numbers", found));
      default:
        return fail_entry(expected("data_offsets: a list of two whole numbers", found));
    }
  }

  // A value without parts. Only in an unknown field it may be anything.
  bool plain_value(std::string_view what) {
    if (at_ != At::unknown) return wrong(what);
    return nesting_ > 0 || go(At::field);
  }
  bool open() { return ++nesting_ <= kMaxNesting || fail_entry("lists and objects 128 deep"); }
  bool close() { return --nesting_ > 0 || go(At::field); }

  bool start_entry(std::string_view name) {
    if (name == kMetadata) {
      if (seen_metadata_) return fail("__metadata__ stands here twice");
      return seen_metadata_ = go(At::metadata);
    }
    entry_ = {name, Dtype::uint8, 0, header_.sizes.size(), 0, 0};
    seen_dtype_ = seen_shape_ = false;
    offsets_count_.reset();
    return go(At::entry);
  }

  bool start_field(std::string_view key) {
    const auto once = [&](bool seen, At next) {
      return seen ? fail_entry(std::string(key) + " stands here twice") : go(next);
    };
    if (key == "dtype") return once(seen_dtype_, At::dtype);
    if (key == "shape") return once(seen_shape_, At::shape) && (seen_shape_ = true);
    if (key == "data_offsets")
      return once(offsets_count_.has_value(), At::offsets) && (offsets_count_ = 0, true);
    nesting_ = 0;
    return go(At::unknown);
  }

  bool set_dtype(std::string_view text) {
    const auto dtype = dtype_from_safetensors(text);
    if (!dtype)
      return fail_entry("dtype " + quote(text) +
                        " is not known; a later version of the format may have it");
    entry_.dtype = *dtype;
    return seen_dtype_ = true;
  }

  bool add_size(std::uint64_t size) {
    if (size > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
      return fail_entry("a size of " + std::to_string(size) +
                        " in its shape; torch's sizes have 63 bits");
    if (entry_.ndim == kMaxDimensions) return fail_entry("more than 64 dimensions");
    header_.sizes.push_back(static_cast<std::int64_t>(size));
    ++entry_.ndim;
    return true;
  }

  bool add_offset(std::uint64_t offset) {
    if (*offsets_count_ == 2) return wrong("three");
    (*offsets_count_ == 0 ? entry_.begin : entry_.end) = offset;
    ++*offsets_count_;
    return true;
  }

  bool finish_entry() {
    if (!seen_dtype_) return fail_entry("dtype is missing");
    if (!seen_shape_) return fail_entry("shape is missing");
    if (!offsets_count_) return fail_entry("data_offsets is missing");
    if (*offsets_count_ != 2) return wrong_count();
    if (entry_.begin > entry_.end) {
      return fail_entry("its bytes end at " + std::to_string(entry_.end) +
                        ", before they begin, at " + std::to_string(entry_.begin));
    }
    if (!check_nbytes()) return false;
    header_.entries.push_back(entry_);
    return true;
  }

  bool wrong_count() {
    at_ = At::offsets;
    return wrong(*offsets_count_ == 0 ? "none" : "one");
  }

  // Shape and dtype against the bytes that it has. Also of a tensor without elements the other sizes must multiply to
  // 63 bits, since strides do.
  bool check_nbytes() {
    const bool pairs = entry_.dtype == Dtype::float4_e2m1fn_x2;  // 4 bits an element here
    std::uint64_t span = 1, numel = 1;
    for (const std::int64_t size : header_.shape(entry_)) {
      const auto n = static_cast<std::uint64_t>(size);
      if (__builtin_mul_overflow(span, n > 0 ? n : 1, &span) ||
          span > std::numeric_limits<std::int64_t>::max() / 128)
        return fail_entry("its shape has more elements than 64 bits can count the bits of");
      numel *= n;
    }
    const std::uint64_t bits = numel * (pairs ? 4 : info(entry_.dtype).bits);
    if (bits % 8 != 0)
      return fail_entry(std::to_string(numel) + " elements of " +
                        std::string(info(entry_.dtype).safetensors) + " do not end on a byte");
    if (bits / 8 != entry_.end - entry_.begin) {
      return fail_entry("its shape and dtype make " + std::to_string(bits / 8) +
                        " bytes, its data_offsets " + std::to_string(entry_.end - entry_.begin));
    }
    if (!pairs) return true;
    if (entry_.ndim == 0 || header_.sizes.back() % 2 != 0)
      return fail_entry("F4 with a last dimension that is not even; torch holds pairs");
    header_.sizes.back() /= 2;
    return true;
  }

  SafetensorsHeader& header_;
  std::string error_;
  At at_ = At::document;
  std::size_t nesting_ = 0;
  std::string_view name_;             // of the metadata
  SafetensorsHeader::Entry entry_{};  // that is being read
  bool seen_metadata_ = false, seen_dtype_ = false, seen_shape_ = false;
  std::optional<int> offsets_count_;
};

using Writer = rapidjson::Writer<rapidjson::StringBuffer, rapidjson::UTF8<>, rapidjson::UTF8<>,
                                 rapidjson::CrtAllocator, rapidjson::kWriteValidateEncodingFlag>;

void write_text(Writer& writer, std::string_view text) {
  if (!writer.String(text.data(), static_cast<rapidjson::SizeType>(text.size())))
    throw UnsupportedError("safetensors holds texts in UTF-8 only, which " + quote(text) +
                           " is not. Rename it");
}

void write_entry(Writer& writer, const SafetensorsHeader& header,
                 const SafetensorsHeader::Entry& entry) {
  writer.StartObject();
  writer.Key("dtype");
  write_text(writer, info(entry.dtype).safetensors);
  writer.Key("shape");
  writer.StartArray();
  for (std::size_t d = 0; d < entry.ndim; ++d) {
    const bool pairs = entry.dtype == Dtype::float4_e2m1fn_x2 && d + 1 == entry.ndim;
    writer.Int64(header.shape(entry)[d] * (pairs ? 2 : 1));
  }
  writer.EndArray();
  writer.Key("data_offsets");
  writer.StartArray();
  writer.Uint64(entry.begin);
  writer.Uint64(entry.end);
  writer.EndArray();
  writer.EndObject();
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string& text, const std::string& path) {
  SafetensorsHeader header;
  HeaderHandler handler(header);
  rapidjson::Reader reader;
  const std::size_t nbytes = text.size();
  text.append(3, '\0');  // the reader takes as many bytes as the first of a character promises
  rapidjson::InsituStringStream stream(text.data());
  constexpr unsigned kFlags = rapidjson::kParseInsituFlag | rapidjson::kParseIterativeFlag |
                              rapidjson::kParseValidateEncodingFlag;
  const auto result = reader.Parse<kFlags>(stream, handler);
  const auto fail = [&](std::size_t offset, const std::string& what) {
    throw FormatError(path + ": offset " + std::to_string(kSafetensorsLengthNbytes + offset) +
                      ": " + what);
  };
  if (!handler.error().empty()) fail(result.Offset(), handler.error());
  if (result.IsError())
    fail(result.Offset(),
         "the header is no JSON: " + std::string(rapidjson::GetParseError_En(result.Code())));
  // The reader takes the first NUL for the end.
  if (stream.Tell() != nbytes)
    fail(stream.Tell(),
         "a header that ends here, expected after " + std::to_string(nbytes) + " bytes");
  text.resize(nbytes);
  return header;
}

std::string write_safetensors_header(const SafetensorsHeader& header) {
  rapidjson::StringBuffer buffer;
  Writer writer(buffer);
  writer.StartObject();
  if (!header.metadata.empty()) {
    write_text(writer, kMetadata);
    writer.StartObject();
    for (const auto& [key, text] : header.metadata) {
      write_text(writer, key);
      write_text(writer, text);
    }
    writer.EndObject();
  }
  for (const SafetensorsHeader::Entry& entry : header.entries) {
    write_text(writer, entry.name);
    write_entry(writer, header, entry);
  }
  writer.EndObject();
  const std::uint64_t nbytes = round_up(buffer.GetSize(), kAlignment);
  std::string out;
  out.reserve(kSafetensorsLengthNbytes + nbytes);
  for (std::uint64_t i = 0; i < kSafetensorsLengthNbytes; ++i)
    out += static_cast<char>(nbytes >> (8 * i) & 0xFF);
  out.append(buffer.GetString(), buffer.GetSize());
  out.resize(kSafetensorsLengthNbytes + nbytes, ' ');
  return out;
}

}  // namespace transload
