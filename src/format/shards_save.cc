// Laying out a model in shards: see shards.cc for the format. Each shard is laid out by its own format; the layout of all is
// theirs put together, and an index.
#include <algorithm>
#include <numeric>

#include <rapidjson/prettywriter.h>
#include <rapidjson/stringbuffer.h>

#include "format/shards.h"
#include "transload/error.h"
#include "values/node_table.h"

namespace transload::shards {
namespace {

// A shard and the part of the whole layout that it makes up.
struct Shard {
  const Format* format;
  Layout layout;
  std::size_t first_piece;  // in the whole layout
};

// What seal() needs again.
struct ShardsLayout {
  std::vector<Shard> shards;
};

const Format& format_for(const std::string& file) {
  return format_named(file.ends_with(".safetensors") ? "safetensors" : "torch_zip");
}

// The entries of the root by the file that they go to, in the order of the state dict.
std::map<std::string, std::vector<std::size_t>> entries_by_file(const StateDict& state,
                                                                const LayoutOptions& options) {
  const Value root = state.root();
  if (!root.is_dict())
    throw UnsupportedError("a model in shards must be a dict of tensors; save it as torch_zip");
  std::map<std::string, std::vector<std::size_t>> files;
  for (std::size_t i = 0; i < root.size(); ++i) {
    const auto [key, value] = root.entry(i);
    if (!key.is(ValueKind::text) || !value.is(ValueKind::tensor)) {
      throw UnsupportedError("a model in shards must be a dict of tensors, but \"" + str(key, 100) +
                             "\" is of type " + std::string(name(value.kind())) +
                             ". `values` drop leaves out what is not a tensor, `at` selects a "
                             "part, and `format` torch_zip holds everything");
    }
    const std::uint32_t storage = value.storage_number();
    const std::string file = storage < options.files.size() ? options.files[storage] : "";
    files[file.empty() ? "model-00001-of-00001.safetensors" : file].push_back(i);
  }
  return files;
}

StateDict part_of(const StateDict& state, const std::vector<std::size_t>& entries) {
  const auto nodes = std::make_shared<NodeTable>();
  const auto storages = state.storages();
  std::vector<std::uint32_t> numbers(storages.size());
  std::iota(numbers.begin(), numbers.end(), 0);
  nodes->root = nodes->container(ValueKind::dict);
  for (const std::size_t i : entries) {
    const auto [key, value] = state.root().entry(i);
    const NodeId key_node = nodes->text(key.text());
    nodes->set(nodes->root, key_node, nodes->copy(state.nodes(), value.id(), numbers));
  }
  return StateDict(nodes, {storages.begin(), storages.end()});
}

std::string index_text(const StateDict& state, const std::map<std::string, std::string>& files) {
  rapidjson::StringBuffer buffer;
  rapidjson::PrettyWriter<rapidjson::StringBuffer> json(buffer);
  json.SetIndent(' ', 2);
  const auto text = [&](const std::string& value) {
    json.String(value.data(), static_cast<rapidjson::SizeType>(value.size()));
  };
  std::uint64_t total_nbytes = 0;
  for (const NamedTensor& tensor : state.tensors()) total_nbytes += tensor.value.tensor().nbytes();
  json.StartObject();
  json.Key("metadata");
  json.StartObject();
  json.Key("total_size");
  json.Uint64(total_nbytes);
  json.EndObject();
  json.Key("weight_map");
  json.StartObject();
  for (const auto& [tensor, file] : files) text(tensor), text(file);
  json.EndObject();
  json.EndObject();
  return std::string(buffer.GetString(), buffer.GetSize()) + "\n";
}

// Adds a shard's files, pieces and literals to the whole, under its number.
void add_shard(Layout& whole, Shard& shard, const std::string& file) {
  const auto number = static_cast<std::uint32_t>(whole.files.size());
  whole.files.push_back({file, shard.layout.files.front().nbytes});
  shard.first_piece = whole.pieces.size();
  for (Piece piece : shard.layout.pieces) {
    piece.extent.file = number;
    whole.pieces.push_back(std::move(piece));
  }
  for (Literal literal : shard.layout.literals) {
    literal.file = number;
    whole.literals.push_back(std::move(literal));
  }
}

}  // namespace

Layout lay_out(const StateDict& state, const LayoutOptions& options) {
  Layout whole;
  whole.contents = state;
  const auto planned = std::make_shared<ShardsLayout>();
  std::map<std::string, std::string> file_of_tensor;
  bool has_safetensors = false;
  for (const auto& [file, entries] : entries_by_file(state, options)) {
    LayoutOptions of_shard = options;
    of_shard.name = file;
    const Format& format = format_for(file);
    has_safetensors = has_safetensors || format.name == "safetensors";
    Shard shard{&format, format.lay_out(part_of(state, entries), of_shard), 0};
    for (const std::size_t i : entries)
      file_of_tensor[std::string(state.root().entry(i).first.text())] = file;
    add_shard(whole, shard, file);
    for (std::string& item : shard.layout.left_out) {
      if (std::ranges::find(whole.left_out, item) == whole.left_out.end())
        whole.left_out.push_back(std::move(item));
    }
    planned->shards.push_back(std::move(shard));
  }
  const std::string index = index_text(state, file_of_tensor);
  const auto number = static_cast<std::uint32_t>(whole.files.size());
  whole.files.push_back(
      {(has_safetensors ? "model.safetensors" : "pytorch_model.bin") + std::string(kIndexSuffix),
       index.size()});
  whole.literals.push_back({number, 0, index});
  whole.of_format = planned;
  return whole;
}

std::vector<Literal> seal(const Layout& whole, std::span<const std::uint32_t> crc32_of_piece) {
  const auto& planned = *static_cast<const ShardsLayout*>(whole.of_format.get());
  std::vector<Literal> literals;
  for (std::uint32_t s = 0; s < planned.shards.size(); ++s) {
    const Shard& shard = planned.shards[s];
    if (!shard.format->seal) continue;
    for (Literal& literal : shard.format->seal(
             shard.layout, crc32_of_piece.subspan(shard.first_piece, shard.layout.pieces.size()))) {
      literal.file = s;
      literals.push_back(std::move(literal));
    }
  }
  return literals;
}

}  // namespace transload::shards
