// Laying out and sealing torch.save's zip file: see torch_zip.cc for the format.
#include <algorithm>
#include <limits>

#include "archive/zip_write.h"
#include "format/torch_zip.h"
#include "io/crc32.h"
#include "pickle/writer.h"
#include "transload/error.h"

namespace transload::torch_zip {
namespace {

constexpr std::uint64_t kAlignment = 64;  // caffe2/serialize/inline_container.h, kFieldAlignment

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
  std::vector<std::string> bytes;        // by member; empty for storages
  std::vector<std::size_t> of_storages;  // members, in the order of the records that have a key
};

Members plan_members(const std::string& root, std::string pickle,
                     std::span<const StorageRecord> records) {
  Members members;
  const auto add = [&](const std::string& name, std::string bytes, std::uint64_t nbytes) {
    members.zip.add(root + "/" + name, nbytes);
    members.bytes.push_back(std::move(bytes));
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

// What seal() needs again.
struct TorchZipLayout {
  Members members;
  std::vector<std::int64_t> piece_of_member;  // -1: a metadata member
};

// Which part of each storage is written, and as what: the parts that the tensors use, in the order in which the values
// mention them.
class RecordPlanner {
 public:
  RecordPlanner(const StateDict& state, const LayoutOptions& options)
      : nodes_(state.nodes()),
        storages_(state.storages()),
        options_(options),
        records_(storages_.size()),
        ends_(storages_.size()),
        seen_(storages_.size()) {
    for (std::size_t i = 0; i < records_.size(); ++i) {
      records_[i].location = options.locations[i];
      records_[i].begin = options.compact ? std::numeric_limits<std::uint64_t>::max() : 0;
    }
  }

  std::vector<StorageRecord> run() {
    const std::vector<std::uint32_t> mentions = nodes_.mentions();
    for (NodeId node = 0; node < nodes_.size(); ++node) {
      if (mentions[node] == 0) continue;
      if (nodes_.kind(node) == ValueKind::storage) add_storage(node);
      if (nodes_.kind(node) == ValueKind::tensor) add_tensor(node);
    }
    std::uint64_t next_key = 0;
    for (std::size_t i = 0; i < records_.size(); ++i) {
      StorageRecord& record = records_[i];
      if (!seen_[i]) continue;
      if (ends_[i] < record.begin) record.begin = 0, ends_[i] = 0;  // only empty tensors
      const std::uint64_t element = itemsize(record.dtype);
      record.nbytes = (ends_[i] - record.begin) / element * element;
      record.key = std::to_string(next_key++);
    }
    return std::move(records_);
  }

 private:
  void add_storage(NodeId node) {
    const std::uint32_t number = nodes_.storage_number(node);
    mention(number, nodes_.as_dtype(node), "a storage");
    use(number, 0, storages_[number].nbytes());
  }

  void add_tensor(NodeId node) {
    const TensorRow& row = nodes_.row(node);
    if (row.storage == TensorRow::kNoStorage || options_.locations[row.storage].empty()) return;
    mention(row.storage, row.dtype, "a tensor of shape " + Dims(nodes_.shape(node)).str());
    if (!options_.compact) return use(row.storage, 0, storages_[row.storage].nbytes());
    auto last = static_cast<std::uint64_t>(row.storage_offset);
    for (std::size_t d = 0; d < row.ndim; ++d) {
      if (nodes_.shape(node)[d] == 0) return;
      last += static_cast<std::uint64_t>((nodes_.shape(node)[d] - 1) * nodes_.stride(node)[d]);
    }
    const std::uint64_t bits = info(row.dtype).bits;
    use(row.storage, static_cast<std::uint64_t>(row.storage_offset) * bits / 8,
        std::min(storages_[row.storage].nbytes(), ((last + 1) * bits + 7) / 8));
  }

  void use(std::uint32_t number, std::uint64_t begin, std::uint64_t end) {
    records_[number].begin = std::min(records_[number].begin, begin);
    ends_[number] = std::max(ends_[number], end);
  }

  // A storage has one class in the file: that of its dtype, or bytes for dtypes without a class.
  void mention(std::uint32_t number, Dtype dtype, const std::string& who) {
    Dtype of_class = info(dtype).storage_class.empty() ? Dtype::bits8 : dtype;
    const auto is_bytes = [](Dtype d) { return d == Dtype::bits8 || d == Dtype::uint8; };
    Dtype& known = records_[number].dtype;
    if (seen_[number] && is_bytes(known) && is_bytes(of_class) && known != of_class)
      of_class = known = Dtype::bits8;
    if (seen_[number] && known != of_class) {
      throw UnsupportedError(who + " of dtype " + std::string(name(dtype)) +
                             " shares its storage with tensors of dtype " +
                             std::string(name(known)) +
                             ", which a torch_zip file cannot hold; clone one of them");
    }
    seen_[number] = true;
    known = of_class;
  }

  const NodeTable& nodes_;
  std::span<const Storage> storages_;
  const LayoutOptions& options_;
  std::vector<StorageRecord> records_;
  std::vector<std::uint64_t> ends_;  // of the bytes that are used, by storage
  std::vector<bool> seen_;
};

}  // namespace

Layout lay_out(const StateDict& state, const LayoutOptions& options) {
  const std::vector<StorageRecord> records = RecordPlanner(state, options).run();
  Layout layout;
  layout.contents = state;
  auto planned = std::make_shared<TorchZipLayout>();
  planned->members = plan_members(root_folder(options.name),
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
    layout.pieces.push_back({i, record.begin, record.nbytes, extent});
  }
  layout.files.push_back({"", zip.directory_offset()});
  layout.of_format = std::move(planned);
  return layout;
}

// Returns everything but the storages' bytes: it stands between them, and the descriptors hold their CRCs.
std::vector<Literal> seal(const Layout& layout, std::span<const std::uint32_t> crc32_of_piece) {
  const auto& planned = *static_cast<const TorchZipLayout*>(layout.of_format.get());
  const ZipLayout& zip = planned.members.zip;
  std::vector<Literal> literals;
  std::vector<std::uint32_t> crcs(zip.size());
  Literal literal{0, 0, ""};
  for (std::size_t i = 0; i < zip.size(); ++i) {
    literal.bytes += zip.header(i);
    const std::string& bytes = planned.members.bytes[i];
    const std::int64_t piece = planned.piece_of_member[i];
    if (piece >= 0) {
      crcs[i] = crc32_of_piece[static_cast<std::size_t>(piece)];
      literals.push_back(std::move(literal));
      literal = {0, zip.data_end(i), ""};
    } else {
      crcs[i] = crc32_of(std::as_bytes(std::span(bytes)));
      literal.bytes += bytes;
    }
    literal.bytes += zip.descriptor(i, crcs[i]);
  }
  literal.bytes += zip.directory(crcs);
  literals.push_back(std::move(literal));
  return literals;
}

}  // namespace transload::torch_zip
