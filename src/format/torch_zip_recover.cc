// Recovering torch.save's zip file when it is truncated or damaged: see torch_zip.cc for the format.
//
// The values decide which storages there are and how long each is. They are found by the directory if it can be read, or
// by local headers; then each storage is looked up in the same way, and its checksum decides.
#include <map>
#include <optional>

#include "archive/zip_recover.h"
#include "format/torch_zip.h"
#include "io/crc32.h"
#include "transload/error.h"
#include "types/checked.h"

namespace transload::torch_zip {
namespace {

// The members that a damaged file still has.
class DamagedFile {
 public:
  explicit DamagedFile(Opened& opened) : file_(opened.file()), zip_(opened.zip()) {
    if (!zip_) owned_ = std::make_unique<ZipContainer>(file_), zip_ = owned_.get();
    if (!zip_->damage().empty() || !in_directory("data.pkl")) forget_directory();
  }

  // Returns the bytes of data.pkl.
  std::string values() {
    std::string text;
    if (zip_) {
      text = directory_text("data.pkl");
      const std::uint32_t crc32 = in_directory("data.pkl")->crc32;
      if (text.empty() || (crc32 && crc32_of(std::as_bytes(std::span(text))) != crc32))
        forget_directory();
    }
    if (!zip_) text = search_->text("data.pkl", kMaxPickleNbytes);
    if (text.empty()) {
      fail(
          "the member \"data.pkl\" is missing or damaged; it lists the tensors, so nothing can be "
          "recovered without it");
    }
    return text;
  }

  // Throws FormatError if the values' checksum differs: what they say of the tensors cannot be believed.
  void check_values(std::string_view pickle) {
    std::string why_not;
    const Member* const member = find("data.pkl", pickle.size(), why_not);
    if (!member) fail("the values, which list the tensors, are damaged: " + why_not);
    if (member->crc32 && crc32_of(std::as_bytes(std::span(pickle))) != member->crc32) {
      fail(
          "the values, which list the tensors, differ from their checksum; nothing can be "
          "recovered");
    }
  }

  bool is_big_endian() {
    const std::string order = zip_ ? directory_text("byteorder") : search_->text("byteorder", 6);
    if (order.starts_with("big")) return true;
    if (!order.empty() && !order.starts_with("little"))
      fail("the byte order is damaged: \"" + order + "\"");
    return false;
  }

  // Tells how long storages are: from now on their bytes are not taken for local headers.
  void set_lengths(const std::vector<StoredStorage>& storages) {
    const auto lengths = std::make_shared<std::map<std::string, std::uint64_t>>();
    for (const StoredStorage& storage : storages)
      (*lengths)["data/" + storage.key] = storage.nbytes;
    length_of_ = [lengths](const std::string& name) {
      const auto found = lengths->find(name);
      return found == lengths->end() ? std::nullopt : std::optional(found->second);
    };
    search_.reset();
    if (!zip_) search_.emplace(file_, file_.nbytes(), length_of_);
  }

  // Finds a member, by its name without the folder, that has so many bytes. Returns null and sets why_not if there is none.
  // Its checksum is not compared yet.
  Member* find(const std::string& name, std::uint64_t nbytes, std::string& why_not) {
    if (!zip_) return search_->find(name, nbytes, why_not);
    if (Member* const member = find_in_directory(name, nbytes, why_not)) return member;
    if (!search_) search_.emplace(file_, file_.nbytes(), length_of_);
    std::string not_by_header;
    return search_->find(name, nbytes, not_by_header);
  }

 private:
  Member* in_directory(const std::string& name) {
    if (zip_->members().empty()) return nullptr;
    if (!root_) {
      const std::string_view first = zip_->members().front().name;
      root_ = find_root(*zip_).value_or(std::string(first.substr(0, first.find('/') + 1)));
    }
    return zip_->find(*root_ + name);
  }

  Member* find_in_directory(const std::string& name, std::uint64_t nbytes, std::string& why_not) {
    Member* const member = in_directory(name);
    if (!member) {
      why_not = "it is missing from the file";
    } else if (member->nbytes != nbytes) {
      why_not = "it has " + std::to_string(member->nbytes) + " bytes, but the pickle says " +
                std::to_string(nbytes);
    } else if (!zip_->locate_damaged(*member) && !member->crc32 && nbytes > 0) {
      // With a checksum, it tells whether the damaged header led to the right bytes.
      why_not = "its header is damaged, and it has no checksum";
    } else if (member->stored_nbytes >
               file_.nbytes() - std::min(member->data_offset, file_.nbytes())) {
      why_not = "its header is damaged";
    } else {
      return member;
    }
    return nullptr;
  }

  // The directory leads to nothing that can be believed.
  void forget_directory() {
    zip_ = nullptr;
    search_.emplace(file_);
  }

  std::string directory_text(const std::string& name) {
    Member* const member = in_directory(name);
    std::string why_not;
    if (!member || member->nbytes > kMaxPickleNbytes || !find(name, member->nbytes, why_not))
      return "";
    return read_member(file_, *member);
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw FormatError(file_.name + ": " + what);
  }

  const File file_;
  ZipContainer* zip_;  // null: its directory is not used
  std::unique_ptr<ZipContainer> owned_;
  std::optional<std::string> root_;  // of the members' names
  std::optional<ZipSearch> search_;
  ZipSearch::LengthFunction length_of_;
};

}  // namespace

Index recover(Opened& opened, const OpenOptions& options, std::vector<std::string>& lost) {
  refuse_several_archives(opened.file());
  Index index;
  index.format = "torch_zip";
  index.files.push_back(opened.file());
  DamagedFile file(opened);
  const std::string pickle = file.values();
  const Values values = read_values(pickle, index, options, opened.name());
  file.check_values(std::string_view(pickle).substr(0, values.pickle_nbytes));
  const bool is_big_endian = file.is_big_endian();
  file.set_lengths(index.storages);
  std::vector<Member*> records;
  for (const StoredStorage& storage : index.storages) {
    lost.emplace_back();
    records.push_back(file.find("data/" + storage.key, storage.nbytes, lost.back()));
  }
  add_pieces(index, values, records, is_big_endian);
  return index;
}

std::string missing_part(const File& file) {
  constexpr std::uint64_t kSearchedNbytes = 64 << 20;  // torch writes the values first
  constexpr std::uint64_t kLeastRecordNbytes = 112;    // headers, descriptor, directory entry
  try {
    ZipSearch search(file, kSearchedNbytes);
    const std::string pickle = search.text("data.pkl", kSearchedNbytes);
    if (pickle.empty()) return "";
    Index index;
    const Values values = read_values(pickle, index, {.keep_calls = true}, "");
    std::uint64_t nbytes = values.pickle_nbytes;
    for (const StoredStorage& storage : index.storages)
      nbytes = checked_add(nbytes, checked_add(storage.nbytes, kLeastRecordNbytes, ""), "");
    if (nbytes <= file.nbytes()) {
      return "only the directory, at the end, is damaged; all tensors may be there: recover writes "
             "the intact ones to another file";
    }
    return "the file has " + std::to_string(file.nbytes()) + " of at least " +
           std::to_string(nbytes) +
           " bytes: " + std::to_string(percent_missing(file.nbytes(), nbytes)) +
           " % are missing. Copy it again, or write the intact tensors to another file with "
           "recover";
  } catch (const Error&) {
    return "";
  }
}

}  // namespace transload::torch_zip
