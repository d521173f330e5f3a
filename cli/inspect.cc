// inspect: prints the contents of a file as a tree for people or as JSON for scripts. Reads only
// metadata, unless digests are requested. The JSON is a contract: scripts rely on its keys.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <limits>
#include <map>
#include <unordered_map>
#include <unordered_set>

#include <fmt/format.h>
#include <rapidjson/filewritestream.h>
#include <rapidjson/memorystream.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include "commands.h"
#include "digest.h"
#include "words.h"

namespace transload::cli {
namespace {

// ---- the tree ----

bool is_container(const Value& value) {
  return value.is_dict() || value.is(ValueKind::list) || value.is(ValueKind::tuple) ||
         value.is(ValueKind::set) || value.is(ValueKind::frozenset);
}

// Returns whether a list or tuple holds only plain values, so that it is printed in one line.
bool is_plain_list(const Value& value) {
  if (!is_container(value) || value.is_dict()) return false;
  for (std::size_t i = 0; i < value.size(); ++i) {
    const Value item = value.item(i);
    if (is_container(item) || item.is(ValueKind::tensor) || item.is(ValueKind::object))
      return false;
  }
  return true;
}

// Returns the storage of a tensor in the file, or null for a tensor without one (on meta).
const StoredStorage* storage_of(const Index& index, const Value& tensor) {
  const std::uint32_t number = tensor.storage_number();
  return number < index.storages.size() ? &index.storages[number] : nullptr;
}

std::string location_of(const Index& index, const Value& tensor) {
  const StoredStorage* storage = storage_of(index, tensor);
  return storage ? index.locations[storage->location] : "meta";
}

// users: the number of tensors of each storage.
std::string tensor_line(const Index& index, const Value& value,
                        const std::vector<std::vector<std::string>>& names) {
  const Tensor tensor = value.tensor();
  std::string line = fmt::format(
      "{}{} {} on {}, {}", tensor.is_parameter ? "Parameter " : "", name(tensor.dtype()),
      tensor.shape().str(), printable(location_of(index, value)), human_bytes(tensor.nbytes()));
  if (tensor.requires_grad) line += ", requires_grad";
  if (!tensor.is_contiguous()) line += ", strides " + tensor.stride().str();
  if (tensor.conj) line += ", stored as its conjugate";
  if (tensor.neg) line += ", stored as its negative";
  const StoredStorage* storage = storage_of(index, value);
  if (!storage) return line;
  if (const std::size_t count = names[value.storage_number()].size(); count > 1)
    line += fmt::format(", storage \"{}\" shared by {} tensors", printable(storage->key), count);
  if (tensor.nbytes() < storage->nbytes)
    line += fmt::format(", part of a storage of {}", human_bytes(storage->nbytes));
  return line;
}

// Returns the state dict of a module that was pickled whole.
std::optional<Value> state_dict_of(const Value& value) {
  if (!value.is(ValueKind::object)) return std::nullopt;
  return value.object().state_dict;
}

std::string value_line(const Index& index, const Value& value, bool is_plain,
                       const std::vector<std::vector<std::string>>& names) {
  constexpr std::size_t kMaxChars = 100;
  if (value.is(ValueKind::tensor)) return tensor_line(index, value, names);
  if (const auto state = state_dict_of(value)) {
    const Value callable = value.object().callable;
    return fmt::format("module {}, state dict of {}", printable(str(callable, kMaxChars)),
                       state->size());
  }
  if (!is_container(value) || is_plain) return str(value, kMaxChars);
  return fmt::format("{} of {}", name(value.kind()), value.size());
}

// Returns the contents with their tensors on the devices they were saved from, so that str() shows
// those. The tensors have no bytes, as in the index.
StateDict tagged_contents(const Index& index) {
  std::vector<Storage> storages;
  for (std::size_t i = 0; i < index.storages.size(); ++i) {
    const Storage& storage = index.contents.storages()[i];
    const auto device = Device::parse(index.locations[index.storages[i].location]);
    storages.emplace_back(device.value_or(kMeta), nullptr, storage.nbytes(), storage.owner());
  }
  return index.contents.over(std::move(storages));
}

// Returns whether the tensors of a program are its constants: it was frozen.
bool are_constants(const Index& index) {
  const std::vector<NamedTensor> tensors = index.contents.tensors();
  return !tensors.empty() && tensors.front().name.starts_with("CONSTANTS.");
}

// Returns a note if the suffix belongs to another format, because other programs choose the format
// by the suffix.
std::string note_on_suffix(const Index& index) {
  const std::string suffix = std::filesystem::path(index.files.front().name).extension();
  if (index.format == "torch_zip" && suffix == ".safetensors")
    return "  (note) this is a file of torch.save despite its suffix; safetensors cannot open it. "
           "try: transload convert\n";
  if (index.format == "safetensors" && (suffix == ".pt" || suffix == ".pth" || suffix == ".bin"))
    return "  (note) this is safetensors despite its suffix; torch.load cannot open it. try: "
           "transload convert\n";
  if (index.format == "torchscript")
    return "  (note) TorchScript: a program for torch.jit.load. Its code is not run; its tensors "
           "are "
           "listed\n" +
           std::string(are_constants(index) ? "  (note) its weights are constants of the program, "
                                              "by the names that the code has for them\n"
                                            : "");
  return "";
}

void print_tree(const Index& index) {
  const StateDict contents = tagged_contents(index);
  const std::vector<std::vector<std::string>> names = names_by_storage(contents);
  constexpr std::size_t kLongList = 64;
  std::unordered_map<std::uint32_t, bool>
      plain_lists;                     // by value, as a long list may occur in many places
  std::vector<std::uint32_t> modules;  // the state dicts of those that were printed
  constexpr std::size_t kNotInside = std::numeric_limits<std::size_t>::max();
  std::size_t state_dict_depth = kNotInside;  // which adds no level
  walk(contents, [&](const VisitedValue& place) {
    const auto is_plain = [&] {
      if (!is_container(place.value) || place.value.size() < kLongList)
        return is_plain_list(place.value);
      const auto [known, is_new] = plain_lists.try_emplace(place.value.id(), false);
      if (is_new) known->second = is_plain_list(place.value);
      return known->second;
    }();
    // The state dict of a module stands where the module does.
    const bool is_state_dict = place.part.empty() && place.depth > 0 && !modules.empty() &&
                               modules.back() == place.value.id();
    if (is_state_dict) state_dict_depth = place.depth;
    if (is_state_dict) return true;
    if (place.depth <= state_dict_depth) state_dict_depth = kNotInside;
    if (const auto state = state_dict_of(place.value)) modules.push_back(state->id());
    if (place.depth == 0) {
      std::cout << printable(index.files.front().name) << ": " << index.format << ", "
                << value_line(index, place.value, is_plain, names) << "\n";
      if (const std::string note = note_on_suffix(index); !note.empty()) std::cout << note;
      for (const auto& [key, text] : index.metadata)
        std::cout << "  (metadata) " << printable(key) << ": " << printable(text.substr(0, 200))
                  << "\n";
    } else {
      constexpr std::size_t kMaxIndent = 40;
      const std::size_t depth = place.depth - (state_dict_depth == kNotInside ? 0 : 1);
      std::cout << std::string(2 * std::min(depth, kMaxIndent), ' ') << printable(place.part)
                << ": " << value_line(index, place.value, is_plain, names) << "\n";
    }
    return (!is_plain && is_container(place.value)) || state_dict_of(place.value);
  });

  struct Total {
    std::uint64_t storages = 0, nbytes = 0;
  };
  std::map<std::string, Total> totals;
  for (const StoredStorage& storage : index.storages) {
    Total& total = totals[index.locations[storage.location]];
    ++total.storages;
    total.nbytes += storage.nbytes;
  }
  const std::size_t count = contents.tensors().size();
  std::cout << count << (count == 1 ? " tensor" : " tensors")
            << "; bytes by the device they were saved from:\n";
  for (const auto& [location, total] : totals)
    std::cout << fmt::format("  {}: {} in {} {}\n", printable(location), human_bytes(total.nbytes),
                             total.storages, total.storages == 1 ? "storage" : "storages");
}

using Writer = rapidjson::Writer<rapidjson::FileWriteStream, rapidjson::UTF8<>, rapidjson::UTF8<>,
                                 rapidjson::CrtAllocator>;

// Appends `text`, which is UTF-8, escaped to the JSON string `raw`.
void add_escaped(std::string& raw, std::string_view text) {
  rapidjson::StringBuffer buffer;
  rapidjson::Writer<rapidjson::StringBuffer> quoting(buffer);
  quoting.String(text.data(), static_cast<rapidjson::SizeType>(text.size()));
  raw.append(buffer.GetString() + 1, buffer.GetSize() - 2);
}

// Writes a string whose bytes need not be UTF-8. Lone surrogates, which Python texts may contain,
// and the invalid bytes of a path, mapped as Python's error handler "surrogateescape" maps them,
// become \udXXX.
void write(Writer& json, std::string_view text) {
  std::string raw = "\"";
  std::size_t begin = 0;
  rapidjson::MemoryStream in(text.data(), text.size());
  while (in.Tell() < text.size()) {
    const std::size_t at = in.Tell();
    unsigned decoded;
    if (rapidjson::UTF8<>::Decode(in, &decoded)) continue;
    const auto byte = [&](std::size_t i) {
      return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
    };
    const bool is_surrogate = byte(at) == 0xED && byte(at + 1) >= 0xA0 && byte(at + 2) >= 0x80;
    add_escaped(raw, text.substr(begin, at - begin));
    raw += fmt::format("\\u{:04x}",
                       is_surrogate ? 0xD000 | (byte(at + 1) & 0x3F) << 6 | (byte(at + 2) & 0x3F)
                                    : 0xDC00 | byte(at));
    begin = at + (is_surrogate ? 3 : 1);
    in = rapidjson::MemoryStream(text.data(), text.size());
    in.src_ = text.data() + begin;
  }
  if (begin == 0) {
    json.String(text.data(), static_cast<rapidjson::SizeType>(text.size()));
    return;
  }
  add_escaped(raw, text.substr(begin));
  raw += '"';
  json.RawValue(raw.data(), raw.size(), rapidjson::kStringType);
}

void write(Writer& json, const Dims& dims) {
  json.StartArray();
  for (const std::int64_t value : dims) json.Int64(value);
  json.EndArray();
}

void write_tensor(Writer& json, const Index& index, const NamedTensor& named) {
  const Tensor tensor = named.value.tensor();
  const StoredStorage* storage = storage_of(index, named.value);
  json.Key("name");
  write(json, named.name);
  json.Key("dtype");
  write(json, name(tensor.dtype()));
  json.Key("shape");
  write(json, tensor.shape());
  json.Key("stride");
  write(json, tensor.stride());
  json.Key("storage_offset");
  json.Int64(tensor.storage_offset());
  json.Key("requires_grad");
  json.Bool(tensor.requires_grad);
  json.Key("storage");
  if (storage)
    write(json, storage->key);
  else
    json.Null();
  json.Key("location");
  write(json, location_of(index, named.value));
  json.Key("nbytes");
  json.Uint64(tensor.nbytes());
}

constexpr std::size_t kLong = 1000;  // characters

bool is_long(const Value& value) {
  if (value.is(ValueKind::text)) return value.text().size() > kLong;
  if (value.is(ValueKind::bytes) || value.is(ValueKind::bytearray))
    return value.bytes().size() > kLong;
  return false;
}

// Writes a value. Types that JSON does not have become an object: {"complex": "(1+2j)"}. So does a
// long value that was written before (`known`), cut to its beginning.
void write_value(Writer& json, const Value& value, bool known) {
  if (known) {
    json.StartObject();
    write(json, name(value.kind()));
    write(json, str(value, kLong));
    json.EndObject();
    return;
  }
  switch (value.kind()) {
    case ValueKind::none:
      json.Null();
      return;
    case ValueKind::boolean:
      json.Bool(value.boolean());
      return;
    case ValueKind::integer:
      json.Int64(value.integer());
      return;
    case ValueKind::text:
      write(json, value.text());
      return;
    case ValueKind::real:
      if (std::isfinite(value.real())) {
        json.Double(value.real());
        return;
      }
      break;
    default:
      break;
  }
  json.StartObject();
  write(json, name(value.kind()));
  write(json, str(value));
  json.EndObject();
}

// Leaves out values that nest deeper than any model does, and cuts long texts that are repeated,
// because a small file could otherwise produce output without bound.
void write_values(Writer& json, const Index& index) {
  constexpr std::size_t kMaxDepth = 1000;
  constexpr std::uint64_t kNamesNbytes = 64 << 20,
                          kNameNbytes = 256;  // bytes: in all, and per value
  std::unordered_set<std::uint32_t> long_ones;
  std::uint64_t names_nbytes = 0, count = 0;
  json.StartObject();
  walk(index.contents, [&](const VisitedValue& place) {
    const Value& value = place.value;
    names_nbytes += place.path.size();
    if (names_nbytes > kNamesNbytes + kNameNbytes * ++count)
      throw FormatError(index.files.front().name +
                        ": the names of its values are too long to be listed");
    if (place.depth > kMaxDepth) return false;
    if (value.is(ValueKind::tensor) || (is_container(value) && value.size() > 0)) return true;
    write(json, place.path);
    write_value(json, value, is_long(value) && !long_ones.insert(value.id()).second);
    return false;
  });
  json.EndObject();
}

void print_json(const Index& index, bool with_digests) {
  const std::vector<std::string> all_digests =
      with_digests ? digests(index) : std::vector<std::string>();
  const std::vector<NamedTensor> tensors = index.contents.tensors();
  char buffer[1 << 16];
  rapidjson::FileWriteStream out(stdout, buffer, sizeof buffer);
  Writer json(out);
  json.StartObject();
  json.Key("file");
  write(json, index.files.front().name);
  json.Key("format");
  write(json, index.format);
  json.Key("tensors");
  json.StartArray();
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    json.StartObject();
    write_tensor(json, index, tensors[i]);
    if (with_digests) {
      json.Key("sha256");
      if (all_digests[i].empty())
        json.Null();
      else
        write(json, all_digests[i]);
    }
    json.EndObject();
  }
  json.EndArray();
  json.Key("values");
  write_values(json, index);
  json.EndObject();
  out.Put('\n');
  out.Flush();
}

}  // namespace

void inspect(const InspectArguments& arguments) {
  const Index index = open(arguments.file, arguments.open);
  if (arguments.json)
    print_json(index, arguments.digests);
  else
    print_tree(index);
}

}  // namespace transload::cli
