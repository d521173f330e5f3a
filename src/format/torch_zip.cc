// torch.save's zip file, PyTorch 1.6 and later: a pickle, and the bytes of each storage as a member of its own.
//
//   ROOT/data.pkl              the values; tensors mention their storages by key
//   ROOT/.format_version       "1": storages follow in the order of their keys (2.7 and later)
//   ROOT/.storage_alignment    "64"
//   ROOT/byteorder             "little" or "big" (2.1 and later)
//   ROOT/data/KEY              a storage's bytes, whole; begins at a multiple of 64
//   ROOT/version               "3\n"
//
// Sources: torch/serialization.py and caffe2/serialize/inline_container.cc; docs/formats/torch_zip.md.
#include "format/torch_zip.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "format/causes.h"
#include "format/torchscript.h"
#include "io/crc32.h"
#include "io/file.h"
#include "pickle/rebuild.h"
#include "transload/error.h"
#include "values/modules.h"

namespace transload {
namespace torch_zip {
namespace {

constexpr std::uint64_t kMaxMetadataNbytes = 1 << 16, kMaxCodeNbytes = 64 << 20;
constexpr int kMinVersion = 1, kMaxVersion = 10;   // caffe2/serialize/versions.h
constexpr std::uint64_t kMostDeflateRatio = 1040;  // deflate makes at most 1032 bytes of one

const std::string kRepair =
    ". If the file was unpacked and zipped again, recover writes one that PyTorch opens";

// The folder that all members lie in: that of the first one.
std::string_view folder_of(ZipContainer& zip) {
  if (zip.members().empty()) return {};
  const std::string_view name = zip.members().front().name;
  const std::size_t slash = name.find('/');
  return slash == std::string_view::npos ? std::string_view() : name.substr(0, slash);
}

// One file that is read: its container, and what was read of it for the index.
class Reader {
 public:
  Reader(Opened& opened, const OpenOptions& options)
      : name_(opened.name()),
        zip_(*opened.zip()),
        options_(options),
        begin_(std::string(folder_of(zip_)) + "/") {
    index_.format = "torch_zip";
    index_.files.push_back(opened.file());
  }

  Index read() {
    refuse_damage();
    refuse_oddities();
    Member& pickle = find_pickle();
    check_version();
    Member* const constants = find("constants.pkl");
    if (constants) index_.format = "torchscript";  // torch.jit.save: with code
    const bool is_big_endian = read_byte_order();
    const std::string bytes = read_metadata(pickle, kMaxPickleNbytes);
    index_.storages.reserve(zip_.members().size());
    const Values values = read_values(bytes, index_, options_, name_,
                                      constants ? PersistentIds::torchscript : PersistentIds::zip);
    first_constant_ = index_.storages.size();
    if (constants) name_program(*values.nodes, *constants);
    const std::vector<Member*> records = find_records();
    locate(records);
    refuse_oddities();
    add_pieces(index_, values, records, is_big_endian);
    return std::move(index_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const { throw FormatError(name_ + ": " + what); }

  void refuse_damage() const {
    if (zip_.damage().empty()) return;
    FormatError error(zip_.damage());
    refuse_several_archives(zip_.file());
    if (!zip::has_end(zip_.file())) {
      if (const std::string missing = missing_part(zip_.file()); !missing.empty())
        error.add(missing);
    }
    throw error;
  }

  // Archives that two readers can understand in different ways are not read at all.
  void refuse_oddities() const {
    for (const Oddity& oddity : zip_.oddities()) {
      if (oddity.readers_differ)
        fail("offset " + std::to_string(oddity.offset) + ": " + oddity.text);
    }
  }

  Member* find(std::string_view name) { return zip_.find(begin_ + std::string(name)); }

  Member& find_pickle() {
    if (zip_.members().empty()) fail("the zip archive has no members");
    Member* const pickle = find("data.pkl");
    if (!pickle) {
      const std::string cause = cause_of_archive(zip_);
      if (const auto root = find_root(zip_); root && cause.empty())
        fail("the members of torch.save lie in \"" + *root +
             "\", not in the folder at the root that all members share" + kRepair);
      fail("the zip archive has no member \"data.pkl\": " +
           (cause.empty() ? "it is not a file of torch.save" : cause));
    }
    for (const Oddity& oddity : folder_oddities(zip_, begin_.substr(0, begin_.size() - 1)))
      fail("offset " + std::to_string(oddity.offset) + ": " + oddity.text +
           (find_root(zip_) ? kRepair : ""));
    refuse_other_case();
    return *pickle;
  }

  // PyTorch finds members without regard to case: "DATA.PKL" is its pickle too.
  void refuse_other_case() {
    constexpr std::string_view kKnown[] = {"data.pkl",  "version",       ".data/version",
                                           "byteorder", "constants.pkl", ".format_version"};
    const auto equal_but_for_case = [](std::string_view a, std::string_view b) {
      return std::ranges::equal(a, b, [](char x, char y) { return std::tolower(x) == y; });
    };
    for (const Member& member : zip_.members()) {
      const std::string_view name = member.name.substr(begin_.size());
      for (const std::string_view known : kKnown) {
        if (name.size() != known.size() || name == known || !equal_but_for_case(name, known))
          continue;
        fail("offset " + std::to_string(member.header_offset) + ": " + label_of(member) + " is \"" +
             std::string(known) + "\" for PyTorch, which ignores case");
      }
    }
  }

  void check_version() {
    Member* member = find(".data/version");
    if (!member) member = find("version");
    if (!member) fail("there is no member \"version\": this is not a file of torch.save");
    const std::string text = read_metadata(*member, kMaxMetadataNbytes);
    std::string_view digits = text;
    while (!digits.empty() && (digits[0] == ' ' || digits[0] == '+')) digits.remove_prefix(1);
    int version = -1;
    std::from_chars(digits.data(), digits.data() + digits.size(), version);
    if (version < kMinVersion || version > kMaxVersion) {
      throw UnsupportedError(name_ + ": the format's version is \"" + text + "\"; expected " +
                             std::to_string(kMinVersion) + " to " + std::to_string(kMaxVersion));
    }
  }

  // The names of a program's tensors; of its constants, if all weights are.
  void name_program(NodeTable& nodes, Member& constants) {
    const bool has_tensors = !index_.storages.empty();
    torchscript::add_state_dict(nodes, [&](const std::string& name) -> std::optional<std::string> {
      Member* const member = find(name);
      return member ? std::optional(read_metadata(*member, kMaxCodeNbytes)) : std::nullopt;
    });
    if (has_tensors) return;
    const std::string bytes = read_metadata(constants, kMaxPickleNbytes);
    const std::string where = name_ + ": constants.pkl";
    TorchObjects objects(nodes, index_, options_, where, PersistentIds::torchscript);
    torchscript::add_state_dict_of_constants(
        nodes, read_pickle(std::as_bytes(std::span(bytes)), nodes, objects, where).root);
  }

  bool read_byte_order() {
    Member* const member = find("byteorder");
    if (!member) return false;
    const std::string order = read_metadata(*member, kMaxMetadataNbytes);
    if (order != "little" && order != "big")
      fail("byteorder is \"" + order + "\", expected \"little\" or \"big\"");
    return order == "big";
  }

  // Each storage's record: there, and as long as the pickle says.
  std::vector<Member*> find_records() {
    std::vector<Member*> records;
    records.reserve(index_.storages.size());
    std::string name = begin_;
    for (std::size_t i = 0; i < index_.storages.size(); ++i) {
      const StoredStorage& storage = index_.storages[i];
      name.resize(begin_.size());
      name += i < first_constant_ ? "data/" : "constants/";
      name += storage.key;
      records.push_back(zip_.find(name));
      check_record(records.back(), storage, std::string_view(name).substr(begin_.size()));
    }
    return records;
  }

  void check_record(const Member* record, const StoredStorage& storage,
                    std::string_view name) const {
    const auto label = [&] { return "storage \"" + std::string(name) + "\" "; };
    if (!record) fail(label() + "is mentioned by the pickle, but is not in the file");
    if (record->nbytes != storage.nbytes) {
      fail(label() + "has " + std::to_string(record->nbytes) + " bytes, but the pickle says " +
           std::to_string(storage.nbytes));
    }
    if (record->encoding == Encoding::deflated &&
        record->nbytes / kMostDeflateRatio > record->stored_nbytes)
      fail(label() + "claims to inflate to more bytes than deflate can produce");
  }

  // Finds the bytes of the records and of all members that were not read, in one pass over the file.
  void locate(std::span<Member* const> records) {
    std::vector<Member*> wanted;
    wanted.reserve(zip_.members().size());
    for (Member* const record : records) wanted.push_back(record);
    std::vector<bool> is_record(zip_.members().size());
    for (const Member* const record : records)
      is_record[static_cast<std::size_t>(record - zip_.members().data())] = true;
    std::vector<Member*> rest;
    for (std::size_t i = 0; i < is_record.size(); ++i) {
      Member& member = zip_.members()[i];
      if (is_record[i] || is_read(member) || member.crc32 == 0) continue;
      rest.push_back(&member);
      wanted.push_back(&member);
    }
    zip_.locate(wanted);
    for (const Member* const member : rest) add_metadata(*member, std::nullopt);
  }

  bool is_read(const Member& member) const {
    return std::ranges::any_of(index_.metadata_members, [&](const MetadataMember& known) {
      return known.extent.offset == member.data_offset && known.name == member.name;
    });
  }

  std::string read_metadata(Member& member, std::uint64_t max_nbytes) {
    std::string bytes = zip_.read(member, max_nbytes);
    add_metadata(member, crc32_of(std::as_bytes(std::span(bytes))));
    return bytes;
  }

  void add_metadata(const Member& member, std::optional<std::uint32_t> read_crc32) {
    index_.metadata_members.push_back({std::string(member.name),
                                       {0, member.data_offset, member.stored_nbytes},
                                       member.nbytes,
                                       member.encoding,
                                       member.crc32 ? std::optional(member.crc32) : std::nullopt,
                                       read_crc32});
  }

  const std::string& name_;
  ZipContainer& zip_;
  const OpenOptions& options_;
  const std::string begin_;  // of every member's name: the folder and '/'
  Index index_;
  std::size_t first_constant_ = 0;  // of the storages in index_: those before are in data/
};

bool recognizes(Opened& opened) { return opened.zip() != nullptr; }

Index read(Opened& opened, const OpenOptions& options) { return Reader(opened, options).read(); }

}  // namespace

std::optional<std::string> find_root(ZipContainer& zip) {
  constexpr std::string_view kPickle = "data.pkl";
  std::optional<std::string> root;
  for (const Member& member : zip.members()) {
    if (!member.name.ends_with(kPickle) || member.name.starts_with("__MACOSX/")) continue;
    const std::string_view before = member.name.substr(0, member.name.size() - kPickle.size());
    if (!before.empty() && !before.ends_with('/')) continue;
    if (root) return std::nullopt;
    root = before;
  }
  return root;
}

void refuse_several_archives(const File& file) {
  // The one before ends where the last one begins. What lies in a tensor, or behind other bytes, has no such neighbor.
  const std::uint64_t begin = zip::last_archive_begin(file);
  if (begin < zip::kEndNbytes ||
      read_text(file, begin - zip::kEndNbytes, zip::kEndSignature.size()) != zip::kEndSignature)
    return;
  throw UnsupportedError(
      file.name +
      ": several archives, one after the other: this is one file of a checkpoint of "
      "torch.distributed.checkpoint, and only its whole folder can be read");
}

Values read_values(std::string_view pickle, Index& index, const OpenOptions& options,
                   const std::string& name, PersistentIds ids) {
  const auto nodes = std::make_shared<NodeTable>();
  nodes->reserve_for_pickle(pickle.size());
  const std::string where = name + ": data.pkl";
  TorchObjects objects(*nodes, index, options, where, ids);
  const ReadPickle found = read_pickle(std::as_bytes(std::span(pickle)), *nodes, objects, where);
  nodes->root = found.root;
  // Protocol 2 and later begin with the opcode PROTO and the number: CPython, Lib/pickletools.py.
  if (pickle.starts_with('\x80') && pickle.size() > 1)
    index.pickle_protocol = static_cast<unsigned char>(pickle[1]);
  if (ids == PersistentIds::zip) add_state_dicts(*nodes);
  return {nodes, found.nbytes};
}

void add_pieces(Index& index, const Values& values, std::span<Member* const> records,
                bool is_big_endian) {
  index.pieces.reserve(records.size());
  for (std::uint32_t i = 0; i < records.size(); ++i) {
    StoredStorage& storage = index.storages[i];
    if (!is_big_endian) storage.swap_nbytes = 1;
    if (!storage.nbytes || !records[i]) continue;
    const Member& record = *records[i];
    index.pieces.push_back({i,
                            0,
                            storage.nbytes,
                            {0, record.data_offset, record.stored_nbytes},
                            record.encoding,
                            record.crc32 ? std::optional(record.crc32) : std::nullopt});
  }
  index.contents = StateDict(values.nodes, meta_storages(index));
}

}  // namespace torch_zip

const Format kTorchZip{"torch_zip",        torch_zip::recognizes, torch_zip::read,
                       torch_zip::lay_out, torch_zip::seal,       torch_zip::recover};

}  // namespace transload
