// Opening: a path or a source ► Opened ► the format that recognizes it ► Index. No tensor's bytes are read.
#include "format/format.h"
#include "pickle/refused.h"
#include "plan/select.h"
#include "transload/transload.h"
#include "types/quotes.h"
#include "values/walk.h"

namespace transload {
namespace {

// Throws UnsafePickleError if the options refuse a value that is selected. A container is looked
// through; what else is not a tensor is selected as a tensor of its name would be.
void refuse_selected(const Index& index, const OpenOptions& options) {
  const NodeTable& nodes = index.contents.nodes();
  const auto refuse = [&](NodeId node, const Walk& walk) {
    if (node == kNoNode) return;
    const auto refused = refused_in(nodes, node, options);
    if (!refused) return;
    std::string where = index.files.front().name;
    if (!walk.path().empty()) where += ": " + in_quotes(walk.path());
    throw refusal_of(*refused, where);
  };
  Walk walk(nodes, part_at(index.contents, options.select.at).id());
  while (walk.next()) {
    const NodeId node = walk.node();
    if (is_dict(nodes.kind(node)) || is_sequence(nodes.kind(node))) {
      refuse(nodes.attributes(node), walk);
      walk.enter();
    } else if (!options.values_by_name || selected_name(options.select, walk.path())) {
      refuse(node, walk);
    }
  }
}

// What a file has that is refused may be what is not selected: then it is read once more, with
// inert values.
template <class Source>
Index open_selected(const Source& source, const OpenOptions& options) {
  try {
    Opened opened(source);
    return read_index(format_of(opened), opened, options);
  } catch (const UnsafePickleError&) {
    const Selection& select = options.select;
    const bool by_name = options.values_by_name && (!select.keep.empty() || !select.drop.empty());
    if (select.at.empty() && !by_name) throw;
    Opened opened(source);
    Index index = read_index(format_of(opened), opened, {.keep_calls = true, .select = select});
    refuse_selected(index, options);
    return index;
  }
}

}  // namespace

Index open(const std::filesystem::path& path, const OpenOptions& options) {
  return open_selected(path, options);
}

Index open(const File& file, const OpenOptions& options) { return open_selected(file, options); }

std::vector<FormatInfo> formats() { return list_formats(); }

}  // namespace transload
