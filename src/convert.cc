// Converting, top to bottom: file ► Index ► Layout ► Plan ► run ► seal ► the files take their place.
//
// It is a save whose bytes come from files instead of memory: nothing is held but staging and what open() reads.
#include "transload/transload.h"
#include "writing.h"

namespace transload {
namespace {

// What is to be written of an index, as the options say.
struct Chosen {
  Index index;
  SaveOptions options;
  std::vector<std::string> tags;
  std::vector<std::string> files;  // by storage: the file that it came from, if there are several
};

// A model in shards keeps its sharding when it is written as shards again.
std::vector<std::string> files_of(const Index& index) {
  std::vector<std::string> files(index.storages.size());
  if (index.files.size() < 2) return files;
  for (const Piece& piece : index.pieces)
    files[piece.storage] = std::filesystem::path(index.files[piece.extent.file].name).filename();
  return files;
}

Chosen choose(Index index, const Format& format, SaveOptions options) {
  index.contents = select_to_write(index.contents, format, options);
  if (options.metadata.empty()) options.metadata = index.metadata;
  std::vector<std::string> tags = tags_to_write(tags_of(index), index.contents, options.locations);
  std::vector<std::string> files = files_of(index);
  return {std::move(index), std::move(options), std::move(tags), std::move(files)};
}

}  // namespace

SaveResult convert(const std::filesystem::path& from, const std::filesystem::path& to,
                   const SaveOptions& options, const OpenOptions& open_options) {
  const Format& format = format_to_write(to, options.format);
  OpenOptions of_selected = open_options;
  of_selected.select = options.select;
  Index opened = open(from, of_selected);
  std::vector<UnusedRule> unused = unused_rules(opened, options.select, options.locations);
  const Chosen chosen = choose(std::move(opened), format, options);
  const Layout layout =
      lay_out(format, chosen.index.contents, chosen.tags, to, chosen.options, chosen.files);
  SaveResult result =
      write(format, layout, to, &chosen.index, options, [&](const WriteFacts& facts) {
        return plan_convert(chosen.index, layout, facts, options.io);
      });
  result.unused_rules = std::move(unused);
  return result;
}

Plan plan_convert(const Index& index, const std::filesystem::path& to, const SaveOptions& options) {
  const Format& format = format_to_write(to, options.format);
  const Chosen chosen = choose(index, format, options);
  const Layout layout =
      lay_out(format, chosen.index.contents, chosen.tags, to, chosen.options, chosen.files);
  Plan plan = plan_convert(chosen.index, layout, {true, format.seal != nullptr}, options.io);
  for (FileUse& output : plan.outputs)
    output.name = output.name.empty() ? to.string() : (to / output.name).string();
  return plan;
}

}  // namespace transload
