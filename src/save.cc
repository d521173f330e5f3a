// Saving, top to bottom: StateDict ► Layout ► Plan ► run ► seal ► the files take their place.
//
// lay_out() (format/) fixes every offset before a byte moves, so that devices are read and the files are written in
// parallel. What needs checksums is written last. The exchange is durable: see io/atomic_file.h.
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

}  // namespace

SaveResult save(const StateDict& state, const std::filesystem::path& path,
                const SaveOptions& options) {
  const Format& format = format_to_write(path, options.format);
  const StateDict chosen = select_to_write(state, format, options);
  const std::vector<std::string> tags = tags_to_write(tags_of(state), chosen, options.locations);
  const Layout layout = lay_out(format, chosen, tags, path, options);
  return write(format, layout, path, nullptr, options.io, [&](const WriteFacts& facts) {
    return plan_save(chosen.storages(), layout, facts, options.io);
  });
}

SaveResult save(const StateDict& state, const WriteFunction& write, const SaveOptions& options) {
  const std::filesystem::path name("archive");  // as torch names what it writes to a file object
  const Format& format = format_to_write(name, options.format);
  const StateDict chosen = select(state, options.select);
  const std::vector<std::string> tags = tags_to_write(tags_of(state), chosen, options.locations);
  const Layout layout = lay_out(format, chosen, tags, name, options);
  return transload::write(format, layout, write, options.io, [&](const WriteFacts& facts) {
    return plan_save(chosen.storages(), layout, facts, options.io);
  });
}

Plan plan_save(const StateDict& state, const std::filesystem::path& path,
               const SaveOptions& options) {
  const Format& format = format_to_write(path, options.format);
  const StateDict chosen = select_to_write(state, format, options);
  const std::vector<std::string> tags = tags_to_write(tags_of(state), chosen, options.locations);
  const Layout layout = lay_out(format, chosen, tags, path, options);
  Plan plan = plan_save(chosen.storages(), layout, {true, format.seal != nullptr}, options.io);
  for (FileUse& output : plan.outputs)
    output.name = output.name.empty() ? path.string() : (path / output.name).string();
  return plan;
}

}  // namespace transload
