// A model in several files, as Hugging Face's transformers write it: safetensors or files of torch.save, and beside them
//
//   model.safetensors.index.json   {"metadata": {…}, "weight_map": {"tensor's name": "model-00001-of-00003.safetensors", …}}
//
// which may be missing. Opened by that file or by the folder. The map decides which file a tensor is taken from; one that
// it does not mention is taken from the only file that has it.
// Facts: huggingface_hub/serialization/_base.py; docs/formats/safetensors.md.
#include <algorithm>
#include <map>
#include <set>

#include <rapidjson/document.h>
#include <rapidjson/error/en.h>

#include "format/format.h"
#include "values/node_table.h"

namespace transload {
namespace {

constexpr std::uint64_t kMaxIndexNbytes = 100'000'000;  // as much as a safetensors header may have
constexpr std::string_view kIndexSuffix = ".index.json";

using WeightMap = std::map<std::string, std::string>;  // tensor to file

bool recognizes(const Probe& probe) {
  const std::string_view head(reinterpret_cast<const char*>(probe.head.data()), probe.head.size());
  const std::size_t first = head.find_first_not_of(" \t\r\n");
  return first != std::string_view::npos && head[first] == '{';
}

WeightMap read_map(const File& file) {
  const std::string path = file.name;
  if (file.nbytes() > kMaxIndexNbytes) {
    throw FormatError(path + ": an index of shards of " + std::to_string(file.nbytes()) +
                      " bytes, at most " + std::to_string(kMaxIndexNbytes) + " are read");
  }
  const std::string text = read_text(file, 0, file.nbytes());
  rapidjson::Document document;
  document.Parse<rapidjson::kParseIterativeFlag | rapidjson::kParseValidateEncodingFlag>(
      text.data(), text.size());
  if (document.HasParseError()) {
    throw FormatError(path + ": offset " + std::to_string(document.GetErrorOffset()) +
                      ": an index of shards that is no JSON: " +
                      rapidjson::GetParseError_En(document.GetParseError()));
  }
  if (!document.IsObject() || !document.HasMember("weight_map") ||
      !document["weight_map"].IsObject()) {
    throw FormatError(path +
                      ": JSON without a \"weight_map\" of tensors to files: no index of shards");
  }
  WeightMap map;
  for (const auto& [key, value] : document["weight_map"].GetObject()) {
    const std::string tensor(key.GetString(), key.GetStringLength());
    if (!value.IsString())
      throw FormatError(path + ": weight_map: \"" + tensor +
                        "\" is in something that is no file's name");
    const std::string shard(value.GetString(), value.GetStringLength());
    // Nothing outside of the folder is opened, whatever the map says.
    const std::filesystem::path name(shard);
    if (shard.empty() || shard.find('\0') != std::string::npos || name.is_absolute() ||
        std::ranges::find(name, "..") != name.end()) {
      throw FormatError(path + ": weight_map: \"" + tensor + "\" is in \"" + shard +
                        "\", which is no file beside the index");
    }
    if (!map.emplace(tensor, shard).second)
      throw FormatError(path + ": weight_map has \"" + tensor + "\" twice");
  }
  if (map.empty()) throw FormatError(path + ": the weight_map is empty");
  return map;
}

// Puts the Indexes of files together.
class Shards {
 public:
  explicit Shards(std::string where) : where_(std::move(where)) {
    index_.format = "shards";
    nodes_->root = nodes_->container(ValueKind::dict);
  }

  void add_index_file(File file) { index_.files.push_back(std::move(file)); }

  void add(const std::filesystem::path& path, const std::string& name, const WeightMap& map,
           const OpenOptions& options) {
    const Format& format = format_of(path);
    if (format.is_folder)
      throw FormatError(path.string() + ": an index of shards, where a shard is expected");
    Index shard = format.read(path, options);
    const NodeTable& from = shard.contents.nodes();
    if (!is_dict(from.kind(from.root)))
      throw FormatError(path.string() + ": a shard is a dict of tensors, this is something else");

    const auto first_file = static_cast<std::uint32_t>(index_.files.size());
    const auto first_storage = static_cast<std::uint32_t>(index_.storages.size());
    std::vector<std::uint32_t> numbers(shard.storages.size());
    for (std::uint32_t i = 0; i < numbers.size(); ++i) numbers[i] = first_storage + i;
    const auto entries = from.entries(from.root);
    for (std::size_t i = 0; i < entries.size(); i += 2) {
      if (from.kind(entries[i]) != ValueKind::text)
        throw FormatError(path.string() + ": a shard has names as keys, this has something else");
      const std::string key(from.as_text(entries[i]));
      const auto meant = map.find(key);
      if (meant != map.end() && meant->second != name) continue;
      const auto [there, is_new] = shard_of_.try_emplace(key, name);
      if (!is_new) {
        const bool distributed = shard.metadata.contains("DCP_SHARDING_INFO");
        throw FormatError(where_ + ": \"" + key + "\" is in \"" + there->second + "\" and in \"" +
                          name + "\"" +
                          (distributed ? ": each has a part of it, as torch.distributed.checkpoint "
                                         "writes them, which is not read yet"
                                       : ""));
      }
      const NodeId key_node = nodes_->text(key);
      nodes_->set(nodes_->root, key_node, nodes_->copy(from, entries[i + 1], numbers));
    }
    for (StoredStorage storage : shard.storages) {
      storage.location = location(shard.locations[storage.location]);
      index_.storages.push_back(std::move(storage));
    }
    for (Piece piece : shard.pieces) {
      piece.storage += first_storage;
      piece.extent.file += first_file;
      index_.pieces.push_back(std::move(piece));
    }
    const auto storages = shard.contents.storages();
    storages_.insert(storages_.end(), storages.begin(), storages.end());
    for (File& file : shard.files) index_.files.push_back(std::move(file));
    index_.metadata.merge(shard.metadata);
  }

  Index finish(const WeightMap& map) {
    for (const auto& [key, shard] : map) {
      if (!shard_of_.contains(key))
        throw FormatError(where_ + ": \"" + key + "\" should be in \"" + shard + "\", and is not");
    }
    index_.contents = StateDict(nodes_, std::move(storages_));
    return std::move(index_);
  }

 private:
  std::uint32_t location(const std::string& tag) {
    const auto found = std::ranges::find(index_.locations, tag);
    if (found == index_.locations.end()) index_.locations.push_back(tag);
    return static_cast<std::uint32_t>(std::ranges::find(index_.locations, tag) -
                                      index_.locations.begin());
  }

  std::string where_;
  Index index_;
  std::shared_ptr<NodeTable> nodes_ = std::make_shared<NodeTable>();
  std::vector<Storage> storages_;
  std::map<std::string, std::string> shard_of_;
};

// What stands for a folder: its index, or all its safetensors.
std::vector<std::filesystem::path> files_of(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> indexes, shards;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(kIndexSuffix)) indexes.push_back(entry.path());
    if (name.ends_with(".safetensors")) shards.push_back(entry.path());
  }
  if (error)
    throw IoError(folder.string() + ": the folder cannot be listed: " + error.message(),
                  error.value());
  if (indexes.size() > 1) {  // of the same model in two formats
    std::erase_if(indexes, [](const std::filesystem::path& path) {
      return !path.string().ends_with(".safetensors.index.json");
    });
  }
  if (indexes.size() == 1) return indexes;
  std::ranges::sort(shards);
  if (!shards.empty()) return shards;
  const bool distributed = std::filesystem::exists(folder / ".metadata", error);
  throw FormatError(
      folder.string() +
      (distributed
           ? ": a checkpoint of torch.distributed.checkpoint, which is not read yet; python -m "
             "torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE makes it one file"
           : ": a folder without safetensors or an index of shards (*.index.json); "
             "name the file that is meant"));
}

Index read(const std::filesystem::path& path, const OpenOptions& options) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    const std::vector<std::filesystem::path> files = files_of(path);
    if (files.front().string().ends_with(kIndexSuffix)) return read(files.front(), options);
    Shards shards(path.string());
    for (const auto& file : files) shards.add(file, file.filename().string(), {}, options);
    return shards.finish({});
  }
  const File file = open_file(path);
  const WeightMap map = read_map(file);
  std::set<std::string> names;
  for (const auto& [key, shard] : map) names.insert(shard);
  std::string missing;
  std::size_t missing_count = 0;
  for (const std::string& name : names) {
    if (std::filesystem::exists(path.parent_path() / name, ignored)) continue;
    missing += (missing.empty() ? "\"" : ", \"") + name + "\"";
    ++missing_count;
  }
  if (missing_count) {
    throw FormatError(path.string() + ": of " + std::to_string(names.size()) +
                      " shards these are missing: " + missing + "; copy them beside the index");
  }
  Shards shards(path.string());
  shards.add_index_file(file);
  for (const std::string& name : names) shards.add(path.parent_path() / name, name, map, options);
  return shards.finish(map);
}

}  // namespace

const Format kShards{.name = "shards",
                     .recognizes = recognizes,
                     .read = read,
                     .lay_out = nullptr,
                     .seal = nullptr,
                     .is_folder = true};

}  // namespace transload
