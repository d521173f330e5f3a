// convert: rewrites a file in another format, or with other tags.
#include <iostream>
#include <map>

#include <fmt/format.h>

#include "commands.h"
#include "progress.h"
#include "words.h"

namespace transload::cli {
namespace {

// What of a state dict safetensors has no place for; empty: nothing.
std::string lost_in_safetensors(const StateDict& contents) {
  bool parameters = false, attributes = false, views = false;
  std::map<std::uint32_t, std::string> first_views;  // of each storage
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
  const auto say = [&](bool is_lost, std::string_view what) {
    if (is_lost) text += (text.empty() ? "" : ", ") + std::string(what);
  };
  say(parameters, "which tensors are Parameters or require gradients");
  say(attributes, "attributes of tensors");
  say(views, "that some tensors are views of the same storage");
  return text;
}

}  // namespace

void convert_file(const ConvertArguments& arguments) {
  SaveOptions options = arguments.save;
  SaveResult result;
  double seconds = 0;
  {
    ProgressLine progress;
    options.io.progress = progress.function();
    result = convert(arguments.from, arguments.to, options, arguments.open);
    seconds = progress.seconds();
  }
  for (const auto& leftover : result.leftovers)
    std::cerr << "beside it lies " << leftover.string()
              << ", which a save that was killed has left; it can be removed\n";
  if (options.format == "safetensors" ||
      (options.format.empty() && arguments.to.extension() == ".safetensors")) {
    // Of what is selected, as a load would have it.
    const Plan plan = plan_load(open(arguments.from, arguments.open),
                                {.map_location = kMeta, .select = options.select});
    const std::string lost = lost_in_safetensors(plan.contents);
    if (!lost.empty())
      std::cerr << "safetensors has no place for, and so left out: " << lost << "\n";
  }
  std::cout << fmt::format("{}: {} written in {:.3f} s, {}\n", arguments.to.string(),
                           human_bytes(result.nbytes), seconds, human_rate(result.nbytes, seconds));
}

}  // namespace transload::cli
