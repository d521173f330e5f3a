// A model in several files, as Hugging Face's transformers writes it: safetensors or files of torch.save, and an index
//
//   model.safetensors.index.json   {"metadata": {…}, "weight_map": {"tensor's name": "model-00001-of-00003.safetensors", …}}
//
// which may be missing if all files are there and numbered. Opened by the index or by the folder; which model a folder is
// opened as, folder_models.cc decides. The map decides which file a tensor is taken from; a tensor that it does not mention is
// taken from the only file that has it. Files that hold nothing of what is selected need not be there.
// Sources: huggingface_hub/serialization/_base.py; docs/formats/safetensors.md.
#include "format/shards.h"

#include <algorithm>
#include <set>

#include <rapidjson/document.h>
#include <rapidjson/error/en.h>

#include "format/causes.h"
#include "format/folder_models.h"
#include "io/file.h"
#include "plan/select.h"
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
    Index shard = read_index(format, opened, options);
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

  // absent: shards that were not added.
  Index finish(const std::set<std::string>& absent = {}) {
    for (const auto& [key, shard] : map_) {
      if (!shard_of_.contains(key) && !absent.contains(shard)) {
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

// "2 of 3 shards are missing: "model-00002-of-00003.safetensors", …"
std::string missing_text(std::uint64_t missing, std::uint64_t count,
                         const std::vector<std::string>& first_names) {
  std::string text = count == 1 ? "its only shard is missing"
                                : (missing == count ? "all " : std::to_string(missing) + " of ") +
                                      std::to_string(count) + " shards are missing";
  for (std::size_t i = 0; i < first_names.size(); ++i)
    text += (i == 0 ? ": \"" : ", \"") + first_names[i] + "\"";
  return text + (first_names.size() < missing ? ", …" : "");
}

constexpr std::size_t kMostNames = 5;  // of missing files, in an error

// Whether a selection of names may need this tensor, or a value below it.
bool is_wanted(const Selection& select, std::string_view key) {
  std::string_view name = key;
  if (!select.at.empty()) {
    const bool is_part = key == select.at || key.starts_with(select.at + "/");
    const bool is_around = select.at.starts_with(std::string(key) + "/");
    if (!is_part) return is_around;
    name = key.substr(std::min(select.at.size() + 1, key.size()));
  }
  const std::string below = std::string(name) + "/";
  return selected_name({.keep = select.keep, .drop = select.drop}, name) ||
         std::ranges::any_of(
             select.keep, [&](const std::string& pattern) { return pattern.starts_with(below); });
}

// Throws FormatError if a shard that is not there has something of what is selected.
void require_wanted(const std::string& where, const WeightMap& map,
                    const std::vector<std::string>& names, const std::set<std::string>& absent,
                    const Selection& select) {
  std::vector<std::string> wanted;
  for (const std::string& name : names) {
    if (!absent.contains(name)) continue;
    const bool is_needed = std::ranges::any_of(map, [&](const auto& entry) {
      return entry.second == name && is_wanted(select, entry.first);
    });
    if (is_needed) wanted.push_back(name);
  }
  if (wanted.empty()) return;
  const std::size_t missing = wanted.size();
  wanted.resize(std::min(missing, kMostNames));
  const bool is_any_there = absent.size() < names.size();
  throw FormatError(where + ": " + missing_text(missing, names.size(), wanted) +
                    "; copy what is missing beside the index" +
                    (is_any_there ? ", or choose tensors of the others with `keep`" : ""));
}

Index read_by_index(const File& file, const WeightMap& map, const Folder& folder,
                    const OpenOptions& options) {
  const std::vector<std::string> names = files_of(map);
  std::set<std::string> absent;
  for (const std::string& name : names)
    if (!folder.has(name)) absent.insert(name);
  require_wanted(file.name, map, names, absent, options.select);
  Merger merger(file.name, map);
  merger.add_index_file(file);
  for (const std::string& name : names)
    if (!absent.contains(name)) merger.add(folder, name, options);
  return merger.finish(absent);
}

// The names that a set of numbered files lacks: "model-00002-of-00003.safetensors". They count from 1, or from 0.
std::vector<std::string> missing_files(const FolderModel& model) {
  const std::string& some = model.files.front();
  const std::size_t of = some.rfind("-of-"), dash = some.rfind('-', of - 1);
  const std::size_t digits = of - dash - 1;
  const auto name = [&](std::uint64_t number) {
    const std::string text = std::to_string(number);
    return some.substr(0, dash + 1) + std::string(digits - std::min(digits, text.size()), '0') +
           text + some.substr(of);
  };
  const std::set<std::string> there(model.files.begin(), model.files.end());
  const std::uint64_t first = there.contains(name(0)) ? 0 : 1;
  std::vector<std::string> missing;
  for (std::uint64_t i = 0; i < model.count && missing.size() < kMostNames; ++i)
    if (!there.contains(name(first + i))) missing.push_back(name(first + i));
  return missing;
}

Index read_file(const Folder& folder, const std::string& name, const OpenOptions& options) {
  Opened opened(folder.open(name), folder);
  return read_index(format_of(opened), opened, options);
}

Index read_folder(const Folder& folder, const OpenOptions& options) {
  const FolderModel model = model_of(folder);
  if (model.index) return read_by_index(*model.index, model.map, folder, options);
  if (model.count == 1) return read_file(folder, model.files.front(), options);
  if (model.files.size() != model.count) {
    const std::uint64_t missing =
        model.count - std::min<std::uint64_t>(model.count, model.files.size());
    throw FormatError(folder.path().string() + ": \"" + model.name +
                      "\": " + missing_text(missing, model.count, missing_files(model)) +
                      "; copy them beside the others. Without an index (*.index.json) it is not "
                      "known which tensors they hold");
  }
  const WeightMap none;
  Merger merger(folder.path().string(), none);
  for (const std::string& name : model.files) merger.add(folder, name, options);
  return merger.finish();
}

Index read(Opened& opened, const OpenOptions& options) {
  if (opened.is_folder()) return read_folder(*opened.folder(), options);
  return read_by_index(opened.file(), read_map(opened.file()), *opened.folder(), options);
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
  // Any JSON could be an index; what is not called one is something else.
  const bool is_index = file.name.ends_with(kIndexSuffix);
  if (document.HasParseError()) {
    FormatError error(file.name + ": offset " + std::to_string(document.GetErrorOffset()) +
                      ": the index of shards is not valid JSON: " +
                      rapidjson::GetParseError_En(document.GetParseError()));
    Opened opened(file);
    if (!is_index) error.add(cause_of(opened));
    throw error;
  }
  if (!document.IsObject() || !document.HasMember("weight_map") ||
      !document["weight_map"].IsObject()) {
    Opened opened(file);
    if (!is_index) throw FormatError(file.name + ": " + cause_of(opened));
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
                     .is_folder = true,
                     .is_tensors_only = true};

}  // namespace transload
