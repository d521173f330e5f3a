#include "format/causes.h"

#include <zlib.h>

#include <algorithm>
#include <optional>

#include "archive/tar.h"
#include "io/file.h"

namespace transload {
namespace {

constexpr std::uint64_t kSampleNbytes = 1 << 20, kWindowNbytes = 1 << 20;
constexpr std::uint64_t kMostSearched = 64 << 20;          // at each end of a file, for zeros
constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD, in place of what is not UTF-8
using namespace std::string_view_literals;

constexpr std::string_view kLineEnds =
    "line ends were changed on the way: each line feed has a carriage return before it, as git's "
    "autocrlf and FTP's text mode put there. Copy the file again as binary";
constexpr std::string_view kTextConversion =
    "the file went through a text conversion, which keeps only what is text: copy it again as "
    "binary";
constexpr std::string_view kUtf16 =
    "the file went through a text conversion to UTF-16, as PowerShell's > makes it: copy it again "
    "as binary";
constexpr std::string_view kLfs =
    "this is a git-lfs pointer, not the file it stands for; run 'git lfs pull'";
constexpr std::string_view kGguf = "this is GGUF or GGML, a format of llama.cpp, which is not read";

constexpr std::string_view kPickle =
    "this begins as a bare pickle, but is not a whole one: it breaks off, or other bytes follow. "
    "If "
    "pickle.load reads it, save what it holds with torch.save";

// Files by their first bytes, and the way out.
struct Magic {
  std::string_view bytes, cause;
  std::size_t offset = 0;
};
constexpr Magic kMagics[] = {
    {"version https://git-lfs", kLfs},
    {"version https://hawser", kLfs},
    {"# xet version", "this is a pointer of Xet, not the file it stands for; download that"},
    // Compressed files: the program that unpacks each.
    {"\x1F\x8B\x08", "this is gzip; unpack it first, with gunzip or gzip -d"},
    {"\xFD"
     "7zXZ\0"sv,
     "this is xz; unpack it first, with unxz or xz -d"},
    {"\x5D\0\0\x80\0\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"sv,
     "this is lzma; unpack it first, with unlzma or xz -d"},
    {"1AY&SY", "this is bzip2; unpack it first, with bunzip2 or bzip2 -d", 4},
    {"\x28\xB5\x2F\xFD", "this is zstd; unpack it first, with unzstd or zstd -d"},
    {"\x04\x22\x4D\x18", "this is lz4; unpack it first, with unlz4 or lz4 -d"},
    {"7z\xBC\xAF\x27\x1C", "this is 7z; unpack it first, with 7z x"},
    {"Rar!\x1A\x07", "this is rar; unpack it first, with unrar x"},
    // Formats of other programs.
    {"GGUF", kGguf},
    {"lmgg", kGguf},
    {"fmgg", kGguf},
    {"tjgg", kGguf},
    {"\x89HDF\r\n\x1A\n", "this is HDF5, as Keras saves models, which is not read"},
    {"TFL3", "this is TFLite, a model of TensorFlow Lite, which is not read", 4},
    {"\x89PNG\r\n\x1A\n", "this is a PNG picture, not a model"},
    {"\xFF\xD8\xFF", "this is a JPEG picture, not a model"},
    {"%PDF-", "this is a PDF, not a model"},
    {"\x7F"
     "ELF",
     "this is a program or library (ELF), not a model"},
    // Damaged on the way: what the first bytes were is known.
    {"\x80\x02\x8A\r\n\x6C\xFC\x9C\x46\xF9", kLineEnds},
    {"\x89HDF\r\r\n\x1A\r\n", kLineEnds},
    {"\xEF\xBB\xBFPK\x03\x04", kTextConversion},
    {"\xEF\xBF\xBD\x02", kTextConversion},  // a pickle: 80 and its protocol
    {"\xEF\xBF\xBD\x03", kTextConversion},
    {"\xEF\xBF\xBD\x04", kTextConversion},
    {"\xEF\xBF\xBD\x05", kTextConversion},
    {"\xC2\x80\x02", kTextConversion},
    {"\xC2\x80\x04", kTextConversion},
    {"\xFF\xFEP\0K\0\x03\0\x04\0"sv, kUtf16},
    {"UEsDB", "this is a zip archive in base64; decode it first, with base64 -d"},
    // Pickles.
    {"\x80\x01", kPickle},
    {"\x80\x02", kPickle},
    {"\x80\x03", kPickle},
    {"\x80\x04", kPickle},
    {"\x80\x05", kPickle},
};

bool is_all_zeros(std::string_view bytes) {
  return bytes.find_first_not_of('\0') == std::string_view::npos;
}

// How many zeros a file begins with: exact up to kMostSearched. Holes are skipped.
std::uint64_t leading_zeros(const File& file) {
  for (std::uint64_t at = 0;;) {
    at = file.source->next_data(at);
    if (at >= file.nbytes()) return file.nbytes();
    if (at >= kMostSearched) return at;
    const std::string window = read_text(file, at, std::min(kWindowNbytes, file.nbytes() - at));
    const std::size_t first = window.find_first_not_of('\0');
    if (first != std::string::npos) return at + first;
    at += window.size();
  }
}

// The same for its end.
std::uint64_t trailing_zeros(const File& file) {
  for (std::uint64_t end = file.nbytes(); end > 0;) {
    if (file.nbytes() - end >= kMostSearched) return file.nbytes() - end;
    const std::uint64_t nbytes = std::min(kWindowNbytes, end);
    const std::string window = read_text(file, end - nbytes, nbytes);
    const std::size_t last = window.find_last_not_of('\0');
    if (last != std::string::npos) return file.nbytes() - (end - nbytes + last + 1);
    end -= nbytes;
  }
  return file.nbytes();
}

constexpr std::string_view kNeverWritten =
    ": room that was reserved, or a crash before the data was written. Copy or save it again";

std::string cause_of_zeros(const File& file, std::string_view head) {
  if (!is_all_zeros(head)) return "";
  const std::uint64_t zeros = leading_zeros(file);
  if (zeros == file.nbytes())
    return "the file holds only zeros, " + std::to_string(zeros) + " bytes" +
           std::string(kNeverWritten);
  if (zeros < head.size()) return "";
  return "the file begins with " + std::to_string(zeros) + " zeros" + std::string(kNeverWritten);
}

// ---- text ----

// The characters of a text beyond ASCII, by what they say of a file that is not text otherwise.
struct Characters {
  std::size_t replaced = 0;  // U+FFFD: the bytes were read as UTF-8
  std::size_t controls = 0;  // U+0080 to U+009F, which no text has: the bytes were read as Latin-1
  std::size_t latin = 0, others = 0;  // up to U+00FF, above
};

// Nothing if the bytes are not UTF-8. The last character may be cut.
std::optional<Characters> characters_of(std::string_view text) {
  Characters found;
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const std::size_t nbytes = byte < 0x80             ? 1
                               : (byte & 0xE0) == 0xC0 ? 2
                               : (byte & 0xF0) == 0xE0 ? 3
                               : (byte & 0xF8) == 0xF0 ? 4
                                                       : 0;
    if (nbytes == 0) return std::nullopt;
    for (std::size_t k = 1; k < nbytes && i + k < text.size(); ++k)
      if ((static_cast<unsigned char>(text[i + k]) & 0xC0) != 0x80) return std::nullopt;
    const std::string_view character = text.substr(i, nbytes);
    if (character == kReplacement)
      ++found.replaced;
    else if (nbytes == 2 && byte == 0xC2 && static_cast<unsigned char>(character.back()) < 0xA0)
      ++found.controls;
    else if (nbytes == 2 && byte <= 0xC3)
      ++found.latin;
    else
      found.others += nbytes > 1;
    i += nbytes;
  }
  return found;
}

// Whether bytes that are no text were read as text and written again. Tensors, and the pickles of torch.save, are not UTF-8.
// What is read as UTF-8 becomes U+FFFD for the most part; what is read as Latin-1 has no character above U+00FF.
bool has_been_text(std::string_view sample) {
  constexpr std::size_t kLeastCharacters = 4;
  const auto found = characters_of(sample);
  if (!found) return false;
  const bool is_of_utf8 = found->replaced >= kLeastCharacters &&
                          found->replaced > found->controls + found->latin + found->others;
  return is_of_utf8 ||
         (found->controls >= kLeastCharacters && found->replaced + found->others == 0);
}

bool is_text(std::string_view bytes) {
  return !bytes.empty() && characters_of(bytes) && std::ranges::all_of(bytes, [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte >= 0x20 ? byte != 0x7F : c == '\n' || c == '\r' || c == '\t' || c == '\f';
  });
}

// The beginning of a text in quotes, with line ends as blanks.
std::string shown(std::string_view text) {
  constexpr std::size_t kMostShown = 200;
  std::size_t end = std::min(text.size(), kMostShown);
  while (end < text.size() && end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80)
    --end;
  std::string line;
  for (const char c : text.substr(0, end)) {
    const bool is_blank = c == '\n' || c == '\r' || c == '\t' || c == '\f' || c == ' ';
    if (!is_blank)
      line += c;
    else if (!line.empty() && line.back() != ' ')
      line += ' ';
  }
  while (line.ends_with(' ')) line.pop_back();
  return "\"" + line + (end < text.size() ? " …\"" : "\"");
}

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return lower;
}

std::string cause_of_text(std::string_view text) {
  constexpr std::string_view kAnswer =
      "; if it was downloaded, this is the server's answer in place of the file";
  const std::string lower = lower_case(text);
  const std::size_t first = lower.find_first_not_of(" \t\r\n");
  const std::string_view start = std::string_view(lower).substr(std::min(first, lower.size()));
  if (start.starts_with("<!doctype html") || start.starts_with("<html")) {
    const std::size_t title = lower.find("<title>"), end = lower.find("</title>");
    const bool has_title = title != std::string::npos && end != std::string::npos && title < end;
    return "this is a web page, not a model" +
           (has_title ? ": " + shown(text.substr(title + 7, end - title - 7)) : "") +
           std::string(kAnswer);
  }
  const std::string kind = start.starts_with("<?xml")                                ? "XML"
                           : start.starts_with('{') && start.find('"') != start.npos ? "JSON"
                                                                                     : "text";
  if (kind == "JSON" && lower.find("\"weight_map\"") != std::string::npos) {
    return "this is an index of shards, but the folder of the shards is unknown: open it by its "
           "path";
  }
  return "this is " + kind + ", not a model: " + shown(text) + std::string(kAnswer);
}

// ---- formats without a magic ----

// A varint of a protobuf message at `at`, which moves behind it; nothing if the bytes end.
std::optional<std::uint64_t> varint(std::string_view bytes, std::size_t& at) {
  std::uint64_t value = 0;
  for (unsigned shift = 0; at < bytes.size() && shift < 64; shift += 7) {
    const auto byte = static_cast<unsigned char>(bytes[at++]);
    value |= std::uint64_t{byte & 0x7Fu} << shift;
    if (byte < 0x80) return value;
  }
  return std::nullopt;
}

// Whether the first bytes are a ModelProto of onnx/onnx.proto: ir_version = 1, texts = 2 to 4 and 6, model_version = 5,
// graph = 7, opset_import = 8, each once or more, the graph no longer than the file.
bool is_onnx(std::string_view head, std::uint64_t nbytes) {
  if (!head.starts_with('\x08')) return false;
  bool has_version = false;
  for (std::size_t at = 0; at < head.size();) {
    const auto key = varint(head, at);
    if (!key) return false;
    const std::uint64_t field = *key >> 3, type = *key & 7;
    const bool is_number = field == 1 || field == 5;
    if (field < 1 || field > 8 || type != (is_number ? 0u : 2u)) return false;
    const auto value = varint(head, at);
    if (!value) return false;
    if (field == 1) {
      has_version = *value >= 1 && *value < 100;
    } else if (!is_number) {
      if (*value > nbytes - std::min<std::uint64_t>(at, nbytes)) return false;
      if (field == 7) return has_version;
      if (field != 8 && !is_text(head.substr(at, *value)) && *value > 0) return false;
      at += *value;
    }
  }
  return false;
}

// Two bytes say little: it has to inflate, too.
bool is_zlib(std::string_view head) {
  if (head.size() < 16 || (static_cast<unsigned char>(head[0]) & 0x8F) != 0x08 ||
      (static_cast<unsigned char>(head[0]) * 256 + static_cast<unsigned char>(head[1])) % 31 != 0)
    return false;
  z_stream stream{};
  if (inflateInit(&stream) != Z_OK) return false;
  std::string in(head), out(16, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(in.data());
  stream.avail_in = static_cast<uInt>(in.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  const int result = inflate(&stream, Z_NO_FLUSH);
  const bool is_valid = (result == Z_OK || result == Z_STREAM_END) && stream.total_out > 0;
  inflateEnd(&stream);
  return is_valid;
}

// The header of safetensors with U+FFFD in the length that is before it.
bool is_converted_safetensors(std::string_view head) {
  const std::size_t begin = head.substr(0, 40).find("{\"");
  return begin != std::string_view::npos && begin > 8 &&
         head.substr(0, begin).find(kReplacement) != std::string_view::npos &&
         head.substr(0, begin).find('\0') != std::string_view::npos;
}

std::string cause_of_unmarked(std::string_view head, std::uint64_t nbytes) {
  if (is_tar(head)) {
    return "this is a tar; unpack it first, with tar -xf. (PyTorch before 0.1.10 saved models as "
           "tar, with the members pickle, storages and tensors, which this one does not have)";
  }
  if (is_onnx(head, nbytes)) return "this is ONNX, a graph with its weights, which is not read";
  if (is_zlib(head)) {
    return "this is zlib's format; unpack it first, with pigz -dz or Python's zlib.decompress "
           "(joblib.load, if joblib wrote it)";
  }
  if (is_converted_safetensors(head)) return std::string(kTextConversion);
  return "";
}

bool has_changed_line_ends(std::string_view sample) {
  constexpr std::size_t kLeastLines = 4;  // by chance, each has a carriage return once in 256
  std::size_t lines = 0;
  for (std::size_t at = sample.find('\n'); at != std::string_view::npos;
       at = sample.find('\n', at + 1)) {
    if (at == 0 || sample[at - 1] != '\r') return false;
    ++lines;
  }
  return lines >= kLeastLines;
}

}  // namespace

std::string cause_of(Opened& opened) {
  const std::string_view head = opened.head();
  if (head.empty()) return "the file is empty (an interrupted save or download)";
  if (const std::string zeros = cause_of_zeros(opened.file(), head); !zeros.empty()) return zeros;
  for (const Magic& magic : kMagics) {
    if (head.size() > magic.offset && head.substr(magic.offset).starts_with(magic.bytes))
      return std::string(magic.cause);
  }
  if (const std::string cause = cause_of_unmarked(head, opened.nbytes()); !cause.empty())
    return cause;
  if (is_text(head)) return cause_of_text(head);
  if (opened.nbytes() < 9) {
    return "the file has only " + std::to_string(opened.nbytes()) +
           " bytes (an interrupted save or download, or not a model)";
  }
  return "this is neither a file of torch.save nor safetensors";
}

std::string cause_of_damage(const File& file) {
  constexpr std::uint64_t kLeastZeros = 512;
  const std::string sample = read_text(file, 0, std::min(kSampleNbytes, file.nbytes()));
  if (has_changed_line_ends(sample)) return std::string(kLineEnds);
  if (has_been_text(sample)) return std::string(kTextConversion);
  // A zip archive ends with a record, whose last bytes may be zeros.
  if (!sample.starts_with("PK")) return "";
  const std::uint64_t zeros = trailing_zeros(file);
  return zeros < kLeastZeros ? ""
                             : "the file ends with " + std::to_string(zeros) + " zeros" +
                                   std::string(kNeverWritten);
}

std::string cause_of_archive(ZipContainer& zip) {
  struct Kind {
    std::string_view member, cause;
  };
  constexpr Kind kKinds[] = {
      {".data/extern_modules",
       "this is an archive of torch.package, which holds code; PackageImporter opens it: save the "
       "state_dict() of its model with torch.save"},
      {"archive_format",
       "this is a program of torch.export, which torch.export.load opens; save its state_dict() "
       "with torch.save"},
      {"model.json",
       "this is TorchScript of PyTorch 1.0 to 1.3, which is not read; PyTorch 1.4 opens it, and "
       "torch.jit.save writes it again"},
      {"model.weights.h5",
       "this is a model of Keras, which is not read; keras.models.load_model "
       "opens it"},
      {"MAR-INF/MANIFEST.json",
       "this is an archive of TorchServe; unzip it, and open the model in "
       "it"},
  };
  constexpr std::string_view kModels[] = {".safetensors", ".pt",   ".pth",  ".bin",
                                          ".ckpt",        ".onnx", ".gguf", ".h5"};
  for (const Kind& kind : kKinds) {
    for (const Member& member : zip.members()) {
      if (member.name == kind.member || member.name.ends_with("/" + std::string(kind.member)))
        return std::string(kind.cause);
    }
  }
  for (const Member& member : zip.members()) {
    if (std::ranges::any_of(kModels, [&](auto suffix) { return member.name.ends_with(suffix); }))
      return "this is a zip archive around \"" + std::string(member.name) +
             "\"; unzip it, and open that";
  }
  return "";
}

}  // namespace transload
