#include "format/suffixes.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "transload/error.h"

namespace transload {
namespace {

constexpr std::string_view kSafetensors = ".safetensors";

// Suffixes by which other programs know their files. A file of torch.save under such a name could not be opened by them.
struct Suffix {
  std::string_view suffix, format;
};
constexpr Suffix kOthers[] = {
    {".gguf", "GGUF"},
    {".ggml", "GGML"},
    {".onnx", "ONNX"},
    {".h5", "HDF5"},
    {".hdf5", "HDF5"},
    {".keras", "Keras"},
    {".tflite", "TFLite"},
    {".pb", "TensorFlow"},
    {".mlmodel", "Core ML"},
    {".mlpackage", "Core ML"},
    {".msgpack", "MessagePack"},
    {".npy", "NumPy, which is only read"},
    {".npz", "NumPy, which is only read"},
    {".joblib", "joblib"},
    {".json", "JSON"},
    {".parquet", "Parquet"},
    {".mat", "MATLAB"},
    {".nemo", "NeMo"},
    {".engine", "TensorRT"},
    {".pt2", "torch.export"},
    {".pte", "ExecuTorch"},
    {".distcp", "torch.distributed.checkpoint"},
    {".zip", "zip archives in general"},
    {".tar", "tar"},
    {".tgz", "gzip"},
    {".gz", "gzip"},
    {".bz2", "bzip2"},
    {".xz", "xz"},
    {".zst", "zstd"},
    {".lz4", "lz4"},
    {".7z", "7z"},
    {".rar", "rar"},
};
// Names that people give to files of torch.save: pytorch/examples imagenet/main.py writes checkpoint.pth.tar.
constexpr std::string_view kOfTorch[] = {".pth.tar", ".pt.tar", ".ckpt.tar"};

std::string lower_case(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return text;
}

// The number of characters to insert, remove, replace or exchange with the next that turn one text into the other.
std::size_t edits(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before, last(b.size() + 1), now(b.size() + 1);
  std::iota(last.begin(), last.end(), 0);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    now[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      now[j] = std::min({last[j] + 1, now[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        now[j] = std::min(now[j], before[j - 2] + 1);
    }
    before = std::exchange(last, now);
  }
  return last.back();
}

// Whether a suffix is .safetensors but for a slip; .tensors is not.
bool is_misspelt(std::string_view suffix) {
  constexpr std::size_t kMostEdits = 3;
  return suffix.size() + kMostEdits >= kSafetensors.size() &&
         suffix.size() <= kSafetensors.size() + kMostEdits &&
         edits(suffix, kSafetensors) <= kMostEdits;
}

}  // namespace

std::string_view format_by_suffix(const std::filesystem::path& target) {
  const std::string name = lower_case(target.filename().string());
  const std::string suffix = lower_case(target.extension().string());
  if (suffix == kSafetensors) return "safetensors";
  if (std::ranges::any_of(kOfTorch, [&](std::string_view end) { return name.ends_with(end); }))
    return "torch_zip";
  const std::string written = target.extension().string();
  if (is_misspelt(suffix)) {
    throw UnsupportedError(target.string() + ": the suffix " + written +
                           " is of no format; did you mean .safetensors? `format` torch_zip or "
                           "safetensors writes a file of any name. Nothing was written");
  }
  for (const auto& [other, format] : kOthers) {
    if (suffix != other) continue;
    throw UnsupportedError(target.string() + ": " + written + " is the suffix of " +
                           std::string(format) +
                           ", and such a file is not written; name it .pt or .safetensors, or "
                           "choose what it holds with `format`: torch_zip or safetensors. "
                           "Nothing was written");
  }
  return "torch_zip";
}

}  // namespace transload
