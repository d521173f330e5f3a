// convert: rewrites a file in another format or with other device tags.
#include <iostream>
#include <map>

#include <fmt/format.h>

#include "commands.h"
#include "progress.h"
#include "words.h"

namespace transload::cli {
namespace {

// Returns what safetensors cannot store of a state dict, as a list for people; "" if it stores
// everything.
std::string lost_in_safetensors(const StateDict& contents) {
  bool parameters = false, attributes = false, views = false;
  std::map<std::uint32_t, std::string> first_views;  // the first tensor's layout, by storage
  for (const NamedTensor& named : contents.tensors()) {
    const Tensor tensor = named.value.tensor();
    parameters = parameters || tensor.is_parameter || tensor.requires_grad;
    attributes = attributes || named.value.attributes();
    const std::string view = fmt::format("{} {} {} {}", name(tensor.dtype()), tensor.shape().str(),
                                         tensor.stride().str(), tensor.storage_offset());
    const std::uint32_t storage = named.value.storage_number();
    if (storage == Value::kNoStorage) continue;
    views = views || first_views.try_emplace(storage, view).first->second != view;
  }
  std::string text;
  const auto add = [&](bool is_lost, std::string_view item) {
    if (is_lost) text += (text.empty() ? "" : ", ") + std::string(item);
  };
  add(parameters, "which tensors are Parameters or require gradients");
  add(attributes, "attributes of tensors");
  add(views, "which tensors are views of the same storage");
  return text;
}

}  // namespace

void convert_file(const ConvertArguments& arguments) {
  SaveOptions options = arguments.save;
  SaveResult result;
  const double seconds = run_with_progress(
      options.io, [&] { result = convert(arguments.from, arguments.to, options, arguments.open); });
  for (const auto& leftover : result.leftovers)
    std::cerr << printable(leftover.string())
              << ": left behind by an interrupted save; you can remove it\n";
  if (options.format == "safetensors" ||
      (options.format.empty() && arguments.to.extension() == ".safetensors")) {
    // Only the selected tensors count, under their new names.
    const Plan plan = plan_load(open(arguments.from, arguments.open),
                                {.map_location = kMeta, .select = options.select});
    const std::string lost = lost_in_safetensors(plan.contents);
    if (!lost.empty())
      std::cerr << "left out, because safetensors cannot store it: " << lost << "\n";
  }
  std::cout << fmt::format("{}: {} written in {:.3f} s, {}\n", printable(arguments.to.string()),
                           human_bytes(result.nbytes), seconds, human_rate(result.nbytes, seconds));
}

}  // namespace transload::cli
