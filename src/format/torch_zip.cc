// torch.save's zip file, PyTorch 1.6 and later: a pickle, and the bytes of each storage as a member of its own.
//
//   ROOT/data.pkl              the values; tensors mention their storages by key
//   ROOT/.format_version       "1": storages follow in the order of their keys (2.7 and later)
//   ROOT/.storage_alignment    "64"
//   ROOT/byteorder             "little" or "big" (2.1 and later)
//   ROOT/data/KEY              a storage's bytes, whole; begins at a multiple of 64
//   ROOT/version               "3\n"
//
// Facts: torch/serialization.py and caffe2/serialize/inline_container.cc; docs/formats/torch_zip.md.
#include <algorithm>
#include <charconv>
#include <limits>
#include <map>
#include <optional>

#include "format/format.h"
#include "pickle/writer.h"
#include "pickle/rebuild.h"
#include "archive/zip_read.h"
#include "archive/zip_recover.h"
#include "io/crc32.h"
#include "types/checked.h"
#include "values/node_table.h"

namespace transload {
namespace {

constexpr std::uint64_t kAlignment = 64;  // caffe2/serialize/inline_container.h, kFieldAlignment
constexpr std::uint64_t kMaxPickleNbytes = 8ull << 30;
constexpr std::uint64_t kMaxTextNbytes = 1 << 16;
constexpr int kMinVersion = 1, kMaxVersion = 10;  // caffe2/serialize/versions.h

bool recognizes(const Probe& probe) {
  const std::string_view head(reinterpret_cast<const char*>(probe.head.data()), probe.head.size());
  return head.starts_with("PK\3\4");
}

void check_version(ZipArchive& zip, const std::string& path) {
  ZipMember* member = zip.find(".data/version");
  if (!member) member = zip.find("version");
  if (!member) throw FormatError(path + ": no member \"version\": not a file of torch.save");
  const std::string text = zip.read(*member, kMaxTextNbytes);
  std::string_view digits = text;
  while (!digits.empty() && (digits[0] == ' ' || digits[0] == '+')) digits.remove_prefix(1);
  int version = -1;
  std::from_chars(digits.data(), digits.data() + digits.size(), version);
  if (version < kMinVersion || version > kMaxVersion) {
    throw UnsupportedError(path + ": version \"" + text + "\" of the format; known are " +
                           std::to_string(kMinVersion) + " to " + std::to_string(kMaxVersion));
  }
}

bool is_big_endian(ZipArchive& zip, const std::string& path) {
  ZipMember* member = zip.find("byteorder");
  if (!member) return false;
  const std::string order = zip.read(*member, kMaxTextNbytes);
  if (order != "little" && order != "big") {
    throw FormatError(path + ": byteorder is \"" + order + "\", expected \"little\" or \"big\"");
  }
  return order == "big";
}

// The values, and the storages that they mention.
std::shared_ptr<NodeTable> read_values(std::string_view pickle, Index& index,
                                       const OpenOptions& options, const std::string& name,
                                       std::size_t* nbytes = nullptr) {
  const auto nodes = std::make_shared<NodeTable>();
  nodes->reserve_for_pickle(pickle.size());
  const std::string where = name + ": data.pkl";
  TorchObjects objects(*nodes, index, options, where);
  const ReadPickle found = read_pickle(std::as_bytes(std::span(pickle)), *nodes, objects, where);
  nodes->root = found.root;
  if (nbytes) *nbytes = found.nbytes;
  return nodes;
}

// Why a record cannot be the storage's bytes; empty: it can.
std::string fault_of(const ZipMember* record, const StoredStorage& storage) {
  const std::string label = "storage \"data/" + storage.key + "\" ";
  if (!record) return label + "is mentioned, but is not in the file";
  if (record->nbytes != storage.nbytes) {
    return label + "has " + std::to_string(record->nbytes) + " bytes, the pickle says " +
           std::to_string(storage.nbytes);
  }
  if (record->deflated && record->nbytes / 1040 > record->stored_nbytes)
    return label + "claims to inflate to more than is possible";
  return "";
}

// Storages over their records; null where there is none.
void add_pieces(Index& index, std::shared_ptr<NodeTable> nodes, std::span<ZipMember* const> records,
                bool big_endian) {
  index.pieces.reserve(records.size());
  for (std::uint32_t i = 0; i < records.size(); ++i) {
    StoredStorage& storage = index.storages[i];
    if (!big_endian) storage.swap_nbytes = 1;
    if (storage.nbytes && records[i]) {
      const ZipMember& record = *records[i];
      index.pieces.push_back({i,
                              0,
                              storage.nbytes,
                              {0, record.data_offset, record.stored_nbytes},
                              record.deflated ? Encoding::deflated : Encoding::as_is,
                              record.crc32 ? std::optional(record.crc32) : std::nullopt});
    }
  }
  index.contents = StateDict(std::move(nodes), meta_storages(index));
}

// Of a file without an end: how much of it is missing at least, by what its values mention. Empty: that is not known.
std::string missing_part(const File& file) {
  constexpr std::uint64_t kSearchedNbytes = 64 << 20;  // torch writes the values first
  constexpr std::uint64_t kLeastRecordNbytes = 112;    // headers, descriptor, directory entry
  try {
    ZipSearch search(file, kSearchedNbytes);
    const std::string pickle = search.text("data.pkl", kSearchedNbytes);
    if (pickle.empty()) return "";
    Index index;
    std::size_t nbytes = 0;
    read_values(pickle, index, {.keep_calls = true}, "", &nbytes);
    for (const StoredStorage& storage : index.storages)
      nbytes = checked_add(nbytes, checked_add(storage.nbytes, kLeastRecordNbytes, ""), "");
    if (nbytes <= file.nbytes()) {
      return "the directory, at the end, is not whole; what its values mention may all be there: "
             "recover writes what is whole into another file";
    }
    return "there are " + std::to_string(file.nbytes()) + " bytes of at least " +
           std::to_string(nbytes) + ": " + std::to_string(percent_missing(file.nbytes(), nbytes)) +
           " % are missing. Copy it again, or write what is whole into another file with recover";
  } catch (const Error&) {
    return "";
  }
}

Index read(const std::filesystem::path& path, const OpenOptions& options) {
  Index index;
  index.format = "torch_zip";
  index.files.push_back(open_file(path));
  const std::string name = path.string();
  std::optional<ZipArchive> archive;
  try {
    archive.emplace(index.files[0]);
  } catch (FormatError& error) {
    if (archive_begin(index.files[0]) > 0) {
      throw UnsupportedError(name +
                             ": archives one after the other: a part of a checkpoint of "
                             "torch.distributed.checkpoint, whose folder makes sense of it");
    }
    if (!has_archive_end(index.files[0])) {
      if (const std::string missing = missing_part(index.files[0]); !missing.empty())
        error.add(missing);
    }
    throw;
  }
  ZipArchive& zip = *archive;
  if (zip.members().empty()) throw FormatError(name + ": a zip archive without members");
  ZipMember* pickle = zip.find("data.pkl");
  if (!pickle) {
    throw FormatError(name + ": a zip archive without \"data.pkl\": " +
                      (zip.find("archive_format")
                           ? "a program of torch.export, which torch.export.load opens; save its "
                             "state_dict() with torch.save"
                           : "not a file of torch.save"));
  }
  check_version(zip, name);
  if (zip.find("constants.pkl")) index.format = "torchscript";  // torch.jit.save's: code beside it
  const bool big_endian = is_big_endian(zip, name);
  const std::string bytes = zip.read(*pickle, kMaxPickleNbytes);
  index.storages.reserve(zip.members().size());
  const auto nodes = read_values(bytes, index, options, name);

  // Each storage's record: there, and as long as the pickle says.
  std::vector<ZipMember*> records;
  records.reserve(index.storages.size());
  for (const StoredStorage& storage : index.storages) {
    records.push_back(zip.find("data/" + storage.key));
    if (const std::string fault = fault_of(records.back(), storage); !fault.empty())
      throw FormatError(name + ": " + fault);
  }
  zip.find_data(records);
  add_pieces(index, nodes, records, big_endian);
  return index;
}

// Every member that is no storage's: the pickle above all, of which PyTorch does not check the checksum either.
void verify_texts(const File& file) {
  ZipArchive zip(file);
  std::vector<ZipMember*> all;
  for (ZipMember& member : zip.members()) all.push_back(&member);
  zip.find_data(all);
  for (ZipMember& member : zip.members()) {
    if (member.crc32 == 0 || member.name.substr(zip.root().size()).starts_with("/data/")) continue;
    const std::string text = zip.read(member, kMaxPickleNbytes);
    if (crc32_of(std::as_bytes(std::span(text))) == member.crc32) continue;
    throw FormatError(file.name + ": offset " + std::to_string(member.header_offset) +
                      ": member \"" + std::string(member.name) + "\" is not what was saved");
  }
}

// A file's members as a damaged one still has them: by its directory if that can be read, else by what looks like their
// headers.
class Remains {
 public:
  explicit Remains(const File& file) : file_(file) {
    try {
      archive_.emplace(file, [](std::uint64_t, const std::string&) {});
      if (!archive_->find("data.pkl")) forget_archive();
    } catch (const FormatError&) {
      forget_archive();
    }
  }

  // The values, whose checksum decides whether what they say of the storages can be believed.
  std::string values() {
    std::string text;
    if (archive_) {
      text = member_text("data.pkl");
      const std::uint32_t crc = archive_->find("data.pkl")->crc32;
      if (text.empty() || (crc && crc32_of(std::as_bytes(std::span(text))) != crc))
        forget_archive();
    }
    if (!archive_) text = search_->text("data.pkl", kMaxPickleNbytes);
    if (text.empty())
      fail(
          "the member \"data.pkl\" is not in what there is of the file; it says what tensors there "
          "are, nothing can be recovered without it");
    return text;
  }
  void check_values(std::string_view pickle) {
    std::string why_not;
    const ZipMember* const member = find("data.pkl", pickle.size(), why_not);
    if (!member) fail("the values are damaged, and with them what tensors there are: " + why_not);
    if (member->crc32 && crc32_of(std::as_bytes(std::span(pickle))) != member->crc32)
      fail(
          "the values, which say what tensors there are, are not those that were saved: what they "
          "say now cannot be believed");
  }

  bool is_big_endian() {
    const std::string order = archive_ ? member_text("byteorder") : search_->text("byteorder", 6);
    if (order.starts_with("big")) return true;
    if (!order.empty() && !order.starts_with("little"))
      fail("the byte order is damaged: \"" + order + "\"");
    return false;
  }

  // From now on the bytes of storages, whose lengths are known, are not taken for headers.
  void take_lengths(const std::vector<StoredStorage>& storages) {
    auto lengths = std::make_shared<std::map<std::string, std::uint64_t>>();
    for (const StoredStorage& storage : storages)
      (*lengths)["data/" + storage.key] = storage.nbytes;
    lengths_ = [lengths](const std::string& name) {
      const auto found = lengths->find(name);
      return found == lengths->end() ? std::nullopt : std::optional(found->second);
    };
    if (archive_)
      search_.reset();
    else
      search_.emplace(file_, file_.nbytes(), lengths_);
  }

  // Null, and why, if it is not there with so many bytes. Its checksum is still to be compared.
  ZipMember* find(const std::string& name, std::uint64_t nbytes, std::string& why_not) {
    if (!archive_) return search_->find(name, nbytes, why_not);
    if (ZipMember* const member = find_in_directory(name, nbytes, why_not)) return member;
    if (!search_) search_.emplace(file_, file_.nbytes(), lengths_);
    std::string not_by_header;
    return search_->find(name, nbytes, not_by_header);
  }

 private:
  ZipMember* find_in_directory(const std::string& name, std::uint64_t nbytes,
                               std::string& why_not) {
    ZipMember* const member = archive_->find(name);
    if (!member) {
      why_not = "it is not in the file";
      return nullptr;
    }
    if (member->nbytes != nbytes) {
      why_not = "it has " + std::to_string(member->nbytes) + " bytes, the pickle says " +
                std::to_string(nbytes);
      return nullptr;
    }
    // Of a header that is damaged the checksum tells whether it led to the right bytes.
    if (!archive_->find_data_anyway(*member) && !member->crc32 && nbytes > 0) {
      why_not = "its header is damaged, and there is no checksum";
      return nullptr;
    }
    if (member->stored_nbytes <= file_.nbytes() - std::min(member->data_offset, file_.nbytes()))
      return member;
    why_not = "its header is damaged";
    return nullptr;
  }

  // What the directory says leads to nothing that can be believed.
  void forget_archive() {
    archive_.reset();
    search_.emplace(file_);
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw FormatError(file_.name + ": " + what);
  }

  std::string member_text(const std::string& name) {
    ZipMember* const member = archive_->find(name);
    std::string why_not;
    if (!member || member->nbytes > kMaxPickleNbytes || !find(name, member->nbytes, why_not))
      return "";
    return read_member(file_, *member);
  }

  const File& file_;
  std::optional<ZipArchive> archive_;
  std::optional<ZipSearch> search_;
  ZipSearch::LengthFunction lengths_;
};

Index salvage(const std::filesystem::path& path, const OpenOptions& options,
              std::vector<std::string>& lost) {
  Index index;
  index.format = "torch_zip";
  index.files.push_back(open_file(path));
  Remains remains(index.files[0]);
  const std::string pickle = remains.values();
  std::size_t pickle_nbytes = 0;
  const auto nodes = read_values(pickle, index, options, path.string(), &pickle_nbytes);
  remains.check_values(std::string_view(pickle).substr(0, pickle_nbytes));
  const bool big_endian = remains.is_big_endian();
  remains.take_lengths(index.storages);
  std::vector<ZipMember*> records;
  for (const StoredStorage& storage : index.storages) {
    lost.emplace_back();
    records.push_back(remains.find("data/" + storage.key, storage.nbytes, lost.back()));
  }
  add_pieces(index, nodes, records, big_endian);
  return index;
}

// The folder inside the archive, as torch names it: the file's name without its last suffix.
std::string root_folder(std::string_view file_name) {
  const std::size_t dot = file_name.rfind('.');
  const std::string root(file_name.substr(0, dot == 0 ? std::string_view::npos : dot));
  const bool plain =
      !root.empty() && root != "." && root != ".." && root.find('/') == std::string::npos &&
      std::all_of(root.begin(), root.end(), [](char c) { return c > 0x1F && c < 0x7F; });
  return plain ? root : "archive";
}

struct Members {
  ZipLayout zip{kAlignment};
  std::vector<std::string> texts;        // by member; empty for those of storages
  std::vector<std::size_t> of_storages;  // members, in the order of the records that have a key
};

Members plan_members(const std::string& root, std::string pickle,
                     std::span<const StorageRecord> records) {
  Members members;
  const auto add = [&](const std::string& name, std::string text, std::uint64_t nbytes) {
    members.zip.add(root + "/" + name, nbytes);
    members.texts.push_back(std::move(text));
  };
  const std::uint64_t pickle_nbytes = pickle.size();
  add("data.pkl", std::move(pickle), pickle_nbytes);
  add(".format_version", "1", 1);
  add(".storage_alignment", "64", 2);
  add("byteorder", "little", 6);
  for (const StorageRecord& record : records) {
    if (record.key.empty()) continue;
    members.of_storages.push_back(members.zip.size());
    add("data/" + record.key, "", record.nbytes);
  }
  add("version", "3\n", 2);
  return members;
}

// What seal() needs again: the members, and which of them are storages.
struct TorchZipLayout {
  Members members;
  std::vector<std::int64_t> piece_of_member;  // -1: a text
};

// The parts of storages that the tensors use, in the order in which the values mention them.
std::vector<StorageRecord> plan_records(const StateDict& state, std::span<const std::string> tags,
                                        const SaveOptions& options) {
  const NodeTable& nodes = state.nodes();
  const auto storages = state.storages();
  std::vector<StorageRecord> records(storages.size());
  std::vector<std::uint64_t> ends(storages.size());
  std::vector<bool> seen(storages.size());
  for (std::size_t i = 0; i < records.size(); ++i) {
    records[i].location = tags[i];
    records[i].begin = options.compact ? std::numeric_limits<std::uint64_t>::max() : 0;
  }
  const auto mention = [&](std::uint32_t number, Dtype dtype, const std::string& who) {
    // A class for the storage: of its dtype; for those that have none, bytes.
    Dtype of_class = info(dtype).storage_class.empty() ? Dtype::bits8 : dtype;
    const auto as_bytes = [](Dtype d) { return d == Dtype::bits8 || d == Dtype::uint8; };
    if (seen[number] && as_bytes(records[number].dtype) && as_bytes(of_class) &&
        records[number].dtype != of_class) {
      of_class = records[number].dtype = Dtype::bits8;
    }
    if (seen[number] && records[number].dtype != of_class) {
      throw UnsupportedError(who + " is " + std::string(name(dtype)) +
                             " and shares its storage with tensors of " +
                             std::string(name(records[number].dtype)) +
                             "; torch files cannot hold that. Clone one of them");
    }
    seen[number] = true;
    records[number].dtype = of_class;
  };
  const std::vector<std::uint32_t> mentions = nodes.mentions();
  for (NodeId node = 0; node < nodes.size(); ++node) {
    if (mentions[node] == 0) continue;
    const ValueKind kind = nodes.kind(node);
    if (kind == ValueKind::storage) {
      const std::uint32_t number = nodes.storage_number(node);
      mention(number, nodes.as_dtype(node), "a storage");
      records[number].begin = 0;
      ends[number] = storages[number].nbytes();
      continue;
    }
    if (kind != ValueKind::tensor || nodes.row(node).storage == TensorRow::kNoStorage) continue;
    const TensorRow& row = nodes.row(node);
    if (tags[row.storage].empty()) continue;
    mention(row.storage, row.dtype, "a tensor of shape " + Dims(nodes.shape(node)).str());
    std::uint64_t begin = 0, end = storages[row.storage].nbytes();
    if (options.compact) {
      const std::uint64_t bits = info(row.dtype).bits;
      std::uint64_t last = static_cast<std::uint64_t>(row.storage_offset);
      bool is_empty = false;
      for (std::size_t d = 0; d < row.ndim; ++d) {
        if (nodes.shape(node)[d] == 0)
          is_empty = true;
        else
          last += static_cast<std::uint64_t>((nodes.shape(node)[d] - 1) * nodes.stride(node)[d]);
      }
      if (is_empty) continue;
      begin = static_cast<std::uint64_t>(row.storage_offset) * bits / 8;
      end = std::min(end, ((last + 1) * bits + 7) / 8);
    }
    records[row.storage].begin = std::min(records[row.storage].begin, begin);
    ends[row.storage] = std::max(ends[row.storage], end);
  }
  std::uint64_t next_key = 0;
  for (std::size_t i = 0; i < records.size(); ++i) {
    StorageRecord& record = records[i];
    if (!seen[i]) continue;
    if (ends[i] < record.begin) record.begin = 0, ends[i] = 0;  // only empty tensors
    const std::uint64_t whole = itemsize(record.dtype);
    record.nbytes = (ends[i] - record.begin) / whole * whole;
    record.key = std::to_string(next_key++);
  }
  return records;
}

Layout lay_out(const StateDict& state, std::span<const std::string> tags,
               std::string_view file_name, const SaveOptions& options) {
  const std::vector<StorageRecord> records = plan_records(state, tags, options);
  Layout layout;
  layout.contents = state;
  auto planned = std::make_shared<TorchZipLayout>();
  planned->members = plan_members(root_folder(file_name),
                                  write_pickle(state, records, options.allow_objects), records);
  const ZipLayout& zip = planned->members.zip;
  planned->piece_of_member.assign(zip.size(), -1);
  auto member = planned->members.of_storages.begin();
  for (std::uint32_t i = 0; i < records.size(); ++i) {
    const StorageRecord& record = records[i];
    if (record.key.empty()) continue;
    const std::size_t at = *member++;
    if (!record.nbytes) continue;
    planned->piece_of_member[at] = static_cast<std::int64_t>(layout.pieces.size());
    const Extent extent{0, zip.data_offset(at), record.nbytes};
    layout.pieces.push_back(
        {i, record.begin, record.nbytes, extent});
  }
  layout.files.push_back({"", zip.directory_offset()});
  layout.of_format = std::move(planned);
  return layout;
}

// Everything but the storages' bytes. It stands between them, and the descriptors want their CRCs.
std::vector<Literal> seal(const Layout& layout, std::span<const std::uint32_t> crc_of_piece) {
  const auto& planned = *static_cast<const TorchZipLayout*>(layout.of_format.get());
  const ZipLayout& zip = planned.members.zip;
  std::vector<Literal> literals;
  std::vector<std::uint32_t> crcs(zip.size());
  Literal literal{0, 0, ""};
  for (std::size_t i = 0; i < zip.size(); ++i) {
    literal.bytes += zip.header(i);
    const std::string& text = planned.members.texts[i];
    const std::int64_t piece = planned.piece_of_member[i];
    if (piece >= 0) {
      crcs[i] = crc_of_piece[static_cast<std::size_t>(piece)];
      literals.push_back(std::move(literal));
      literal = {0, zip.data_end(i), ""};
    } else {
      crcs[i] = crc32_of(std::as_bytes(std::span(text)));
      literal.bytes += text;
    }
    literal.bytes += zip.descriptor(i, crcs[i]);
  }
  literal.bytes += zip.directory(crcs);
  literals.push_back(std::move(literal));
  return literals;
}

}  // namespace

const Format kTorchZip{"torch_zip", recognizes, read, lay_out, seal, verify_texts, salvage};

}  // namespace transload
