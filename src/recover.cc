// Recovering a damaged file, top to bottom: what is left of it ► which pieces are whole ► a save of those.
#include <set>

#include "plan/select.h"
#include "transfer/engine.h"
#include "transload/transload.h"
#include "writing.h"

namespace transload {
namespace {

// The format of a file whose first bytes may be damaged too.
const Format& format_of_damaged(Opened& opened) {
  try {
    return format_of(opened);
  } catch (const FormatError&) {
    if (!opened.is_folder() && zip::has_end(opened.file())) return kTorchZip;
    throw;
  }
}

// Reads these pieces, and says of each storage whose bytes do not have the checksum that the file states why it is lost.
void compare(const Index& index, const std::vector<std::uint32_t>& which, const IoOptions& io,
             std::vector<std::string>& why_lost) {
  const Plan plan = plan_verify(index, which, io);
  Outcome outcome;
  run(plan, {.index = &index}, io, outcome);
  for (std::size_t i = 0; i < which.size(); ++i) {
    const Piece& piece = index.pieces[which[i]];
    if (outcome.read_crc32[i] != *piece.crc32)
      why_lost[piece.storage] = "its bytes are not those that were saved";
  }
}

// Of what a damaged file seems to hold, the checksums decide what is whole.
void compare_all(const Index& index, const IoOptions& io, std::vector<std::string>& why_lost) {
  std::vector<std::uint32_t> together;
  for (std::uint32_t p = 0; p < index.pieces.size(); ++p) {
    const Piece& piece = index.pieces[p];
    if (!why_lost[piece.storage].empty() || !piece.crc32) continue;
    if (piece.encoding == Encoding::as_is) {
      together.push_back(p);
      continue;
    }
    // One that does not inflate must not keep the others from being compared.
    try {
      compare(index, {p}, io, why_lost);
    } catch (const FormatError&) {
      why_lost[piece.storage] = "it is damaged, and does not inflate";
    }
  }
  compare(index, together, io, why_lost);
}

// Which tensors are in what is kept, and why the others are lost.
RecoverResult report(const Index& index, const StateDict& kept,
                     const std::vector<std::string>& why_lost) {
  std::set<std::string> whole;
  for (const NamedTensor& tensor : kept.tensors()) whole.insert(tensor.name);
  RecoverResult result;
  for (const NamedTensor& tensor : index.contents.tensors()) {
    const std::uint32_t s = tensor.value.storage_number();
    if (whole.contains(tensor.name))
      ++result.intact;
    else
      result.lost.push_back({tensor.name, s < why_lost.size() && !why_lost[s].empty()
                                              ? why_lost[s]
                                              : "another part of the same tensor is lost"});
  }
  return result;
}

}  // namespace

RecoverResult recover(const std::filesystem::path& from, const std::filesystem::path& to,
                      const SaveOptions& options, const OpenOptions& open_options) {
  const Format& writer = format_to_write(to, options.format);
  Opened opened(from);
  const Format& format = format_of_damaged(opened);
  if (!format.recover)
    throw UnsupportedError(from.string() + ": " + std::string(format.name) +
                           " cannot be recovered, only single files of torch.save and safetensors");
  std::vector<std::string> why_lost;
  const Index index = format.recover(opened, open_options, why_lost);
  compare_all(index, options.io, why_lost);

  std::vector<bool> lost;
  for (const std::string& why : why_lost) lost.push_back(!why.empty());
  const StateDict kept =
      select(without(index.contents, lost), {}, PlainValues::keep,
             options.allow_objects ? Modules::as_objects : Modules::as_state_dicts);
  RecoverResult result = report(index, kept, why_lost);
  if (result.intact == 0 && !result.lost.empty()) {
    throw FormatError(from.string() + ": none of its " + std::to_string(result.lost.size()) +
                      " tensors is intact: \"" + result.lost.front().name +
                      "\": " + result.lost.front().reason + ". Nothing was written");
  }

  SaveOptions save_options = options;
  if (save_options.metadata.empty()) save_options.metadata = index.metadata;
  const Layout layout = lay_out(writer, kept, tags_of(index), to, save_options);
  result.saved = write(writer, layout, to, &index, options, [&](const WriteFacts& facts) {
    return plan_convert(index, layout, facts, options.io);
  });
  return result;
}

}  // namespace transload
