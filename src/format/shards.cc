// A model in several files, as Hugging Face's transformers writes it: safetensors or files of torch.save, and an index
//
//   model.safetensors.index.json   {"metadata": {…}, "weight_map": {"tensor's name": "model-00001-of-00003.safetensors", …}}
//
// which may be missing. Opened by that file or by the folder. The map decides which file a tensor is taken from; a tensor
// that it does not mention is taken from the only file that has it.
// Sources: huggingface_hub/serialization/_base.py; docs/formats/safetensors.md.
#include "format/shards.h"

#include <algorithm>
#include <set>

#include <rapidjson/document.h>
#include <rapidjson/error/en.h>

#include "io/file.h"
#include "transload/error.h"
#include "values/node_table.h"

namespace transload {
namespace shards {
namespace {

constexpr std::uint64_t kMaxIndexNbytes = 100'000'000;  // as much as a safetensors header may have

bool recognizes(Opened& opened) {
  if (opened.is_folder()) return true;
  const std::size_t first = opened.head().find_first_not_of(" \t\r\n");
  return first != std::string_view::npos && opened.head()[first] == '{' && opened.folder();
}

// Nothing outside of the folder is opened, whatever the map says.
void require_inside(const std::string& where, const std::string& tensor, const std::string& shard) {
  const std::filesystem::path name(shard);
  if (!shard.empty() && shard.find('\0') == std::string::npos && !name.is_absolute() &&
      std::ranges::find(name, "..") == name.end())
    return;
  throw FormatError(where + ": weight_map: \"" + tensor + "\" is in \"" + shard +
                    "\", which is not a file beside the index");
}

// Puts the Indexes of files together.
class Merger {
 public:
  Merger(std::string where, const WeightMap& map) : where_(std::move(where)), map_(map) {
    index_.format = "shards";
    nodes_->root = nodes_->container(ValueKind::dict);
  }

  void add_index_file(File file) { index_.files.push_back(std::move(file)); }

  void add(const Folder& folder, const std::string& name, const OpenOptions& options) {
    Opened opened(folder.open(name), folder);
    const Format& format = format_of(opened);
    if (format.is_folder)
      throw FormatError(opened.name() + ": expected a shard, found another index of shards");
    Index shard = format.read(opened, options);
    const NodeTable& from = shard.contents.nodes();
    if (!is_dict(from.kind(from.root)))
      throw FormatError(opened.name() + ": a shard must hold a dict of tensors");
    add_entries(shard, opened.name(), name);
    add_storages(shard);
    const auto storages = shard.contents.storages();
    storages_.insert(storages_.end(), storages.begin(), storages.end());
    for (File& file : shard.files) index_.files.push_back(std::move(file));
    index_.metadata.merge(shard.metadata);
  }

  Index finish() {
    for (const auto& [key, shard] : map_) {
      if (!shard_of_.contains(key)) {
        throw FormatError(where_ + ": weight_map: \"" + key + "\" should be in \"" + shard +
                          "\", but is not there");
      }
    }
    index_.contents = StateDict(nodes_, std::move(storages_));
    return std::move(index_);
  }

 private:
  void add_entries(const Index& shard, const std::string& path, const std::string& name) {
    const NodeTable& from = shard.contents.nodes();
    std::vector<std::uint32_t> numbers(shard.storages.size());
    for (std::uint32_t i = 0; i < numbers.size(); ++i)
      numbers[i] = static_cast<std::uint32_t>(index_.storages.size()) + i;
    const auto entries = from.entries(from.root);
    for (std::size_t i = 0; i < entries.size(); i += 2) {
      if (from.kind(entries[i]) != ValueKind::text)
        throw FormatError(path + ": the keys of a shard must be texts");
      const std::string key(from.as_text(entries[i]));
      const auto meant = map_.find(key);
      if (meant != map_.end() && meant->second != name) continue;
      const auto [there, is_new] = shard_of_.try_emplace(key, name);
      if (!is_new) fail_twice(shard, key, there->second, name);
      const NodeId key_node = nodes_->text(key);
      nodes_->set(nodes_->root, key_node, nodes_->copy(from, entries[i + 1], numbers));
    }
  }

  [[noreturn]] void fail_twice(const Index& shard, const std::string& key, const std::string& first,
                               const std::string& second) const {
    const bool is_distributed = shard.metadata.contains("DCP_SHARDING_INFO");
    throw FormatError(
        where_ + ": \"" + key + "\" is in \"" + first + "\" and in \"" + second + "\"" +
        (is_distributed ? ": each has a part of it, as torch.distributed.checkpoint writes "
                          "them, which is not read yet"
                        : ""));
  }

  void add_storages(Index& shard) {
    const auto first_file = static_cast<std::uint32_t>(index_.files.size());
    const auto first_storage = static_cast<std::uint32_t>(index_.storages.size());
    for (StoredStorage storage : shard.storages) {
      storage.location = location(shard.locations[storage.location]);
      index_.storages.push_back(std::move(storage));
    }
    for (Piece& piece : shard.pieces) {
      piece.storage += first_storage;
      piece.extent.file += first_file;
      index_.pieces.push_back(std::move(piece));
    }
    for (MetadataMember& member : shard.metadata_members) {
      member.extent.file += first_file;
      index_.metadata_members.push_back(std::move(member));
    }
  }

  std::uint32_t location(const std::string& tag) {
    const auto found = std::ranges::find(index_.locations, tag);
    const auto number = static_cast<std::uint32_t>(found - index_.locations.begin());
    if (found == index_.locations.end()) index_.locations.push_back(tag);
    return number;
  }

  std::string where_;
  const WeightMap& map_;
  Index index_;
  std::shared_ptr<NodeTable> nodes_ = std::make_shared<NodeTable>();
  std::vector<Storage> storages_;
  std::map<std::string, std::string> shard_of_;
};

Index read_by_index(const File& file, const Folder& folder, const OpenOptions& options) {
  const WeightMap map = read_map(file);
  const std::vector<std::string> names = files_of(map);
  std::string missing;
  for (const std::string& name : names) {
    if (!folder.has(name)) missing += (missing.empty() ? "\"" : ", \"") + name + "\"";
  }
  if (!missing.empty()) {
    throw FormatError(file.name + ": of " + std::to_string(names.size()) +
                      " shards these are missing: " + missing + "; copy them beside the index");
  }
  Merger merger(file.name, map);
  merger.add_index_file(file);
  for (const std::string& name : names) merger.add(folder, name, options);
  return merger.finish();
}

// Why a folder is not a model in shards.
[[noreturn]] void fail_folder(const Folder& folder) {
  throw FormatError(
      folder.path().string() +
      (folder.has(".metadata")
           ? ": a checkpoint of torch.distributed.checkpoint, which is not read yet; python -m "
             "torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE turns it into "
             "one file"
           : ": the folder holds neither safetensors nor an index of shards (*.index.json); name "
             "the file to be read"));
}

Index read_folder(const Folder& folder, const OpenOptions& options) {
  std::vector<std::string> indexes, shards;
  for (const std::string& name : folder.names()) {
    if (name.ends_with(kIndexSuffix)) indexes.push_back(name);
    if (name.ends_with(".safetensors")) shards.push_back(name);
  }
  if (indexes.size() > 1) {  // one model in two formats
    std::erase_if(indexes, [](const std::string& name) {
      return !name.ends_with(".safetensors.index.json");
    });
  }
  if (indexes.size() == 1) return read_by_index(folder.open(indexes.front()), folder, options);
  if (shards.empty()) fail_folder(folder);
  const WeightMap none;
  Merger merger(folder.path().string(), none);
  for (const std::string& name : shards) merger.add(folder, name, options);
  return merger.finish();
}

Index read(Opened& opened, const OpenOptions& options) {
  return opened.is_folder() ? read_folder(*opened.folder(), options)
                            : read_by_index(opened.file(), *opened.folder(), options);
}

}  // namespace

WeightMap read_map(const File& file) {
  if (file.nbytes() > kMaxIndexNbytes) {
    throw FormatError(file.name + ": an index of shards of " + std::to_string(file.nbytes()) +
                      " bytes; at most " + std::to_string(kMaxIndexNbytes) + " are read");
  }
  const std::string text = read_text(file, 0, file.nbytes());
  rapidjson::Document document;
  document.Parse<rapidjson::kParseIterativeFlag | rapidjson::kParseValidateEncodingFlag>(
      text.data(), text.size());
  if (document.HasParseError()) {
    throw FormatError(file.name + ": offset " + std::to_string(document.GetErrorOffset()) +
                      ": the index of shards is not valid JSON: " +
                      rapidjson::GetParseError_En(document.GetParseError()));
  }
  if (!document.IsObject() || !document.HasMember("weight_map") ||
      !document["weight_map"].IsObject()) {
    throw FormatError(file.name +
                      ": JSON without a \"weight_map\" of tensors to files: this is not an index "
                      "of shards");
  }
  WeightMap map;
  for (const auto& [key, value] : document["weight_map"].GetObject()) {
    const std::string tensor(key.GetString(), key.GetStringLength());
    if (!value.IsString()) {
      throw FormatError(file.name + ": weight_map: expected a file name for \"" + tensor + "\"");
    }
    const std::string shard(value.GetString(), value.GetStringLength());
    require_inside(file.name, tensor, shard);
    if (!map.emplace(tensor, shard).second)
      throw FormatError(file.name + ": weight_map has \"" + tensor + "\" twice");
  }
  if (map.empty()) throw FormatError(file.name + ": the weight_map is empty");
  return map;
}

std::vector<std::string> files_of(const WeightMap& map) {
  std::set<std::string> names;
  for (const auto& [key, shard] : map) names.insert(shard);
  return {names.begin(), names.end()};
}

}  // namespace shards

const Format kShards{.name = "shards",
                     .recognizes = shards::recognizes,
                     .read = shards::read,
                     .lay_out = shards::lay_out,
                     .seal = shards::seal,
                     .is_folder = true};

}  // namespace transload
