// Saving, top to bottom: StateDict ► Layout ► Plan ► run ► seal ► the files take their place.
//
// lay_out() (format/) fixes every offset before a byte moves, so that devices are read and the files are written in
// parallel. What needs checksums is written last. The exchange is durable: see io/atomic_file.h.
#include <utility>

#include "plan/unused_rules.h"
#include "transload/transload.h"
#include "writing.h"

namespace transload {
namespace {

std::vector<std::string> tags_of(const StateDict& state) {
  std::vector<std::string> tags;
  for (const Storage& storage : state.storages()) {
    const Device device = storage.device();
    tags.push_back(device.kind == DeviceKind::meta ? "" : device.str());
  }
  return tags;
}

// What a save writes: the selected part of a state dict, in this format, at these places.
struct Prepared {
  const Format& format;
  StateDict chosen;
  Layout layout;
};

Prepared prepare(const StateDict& state, const std::filesystem::path& path,
                 const SaveOptions& options) {
  const Format& format = format_to_write(path, options.format);
  StateDict chosen = select_to_write(state, format, options);
  const std::vector<std::string> tags = tags_to_write(tags_of(state), chosen, options.locations);
  Layout layout = lay_out(format, chosen, tags, path, options);
  return {format, std::move(chosen), std::move(layout)};
}

}  // namespace

SaveResult save(const StateDict& state, const std::filesystem::path& path,
                const SaveOptions& options) {
  const Prepared save = prepare(state, path, options);
  SaveResult result =
      write(save.format, save.layout, path, nullptr, options, [&](const WriteFacts& facts) {
        return plan_save(save.chosen.storages(), save.layout, facts, options.io);
      });
  result.unused_rules = unused_rules(state, tags_of(state), options.select, options.locations);
  return result;
}

SaveResult save(const StateDict& state, const WriteFunction& write, const SaveOptions& options) {
  // "archive" is the name that torch gives to what it writes to a file object.
  const Prepared save = prepare(state, "archive", options);
  SaveResult result =
      transload::write(save.format, save.layout, write, options.io, [&](const WriteFacts& facts) {
        return plan_save(save.chosen.storages(), save.layout, facts, options.io);
      });
  result.unused_rules = unused_rules(state, tags_of(state), options.select, options.locations);
  return result;
}

Plan plan_save(const StateDict& state, const std::filesystem::path& path,
               const SaveOptions& options) {
  const Prepared save = prepare(state, path, options);
  const WriteFacts facts{.has_direct = true, .needs_checksums = save.format.seal != nullptr};
  Plan plan = plan_save(save.chosen.storages(), save.layout, facts, options.io);
  for (FileUse& output : plan.outputs)
    output.name = output.name.empty() ? path.string() : (path / output.name).string();
  return plan;
}

}  // namespace transload
