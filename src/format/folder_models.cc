#include "format/folder_models.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <set>
#include <string_view>

#include "transload/error.h"

namespace transload::shards {
namespace {

constexpr std::string_view kSuffixes[] = {".safetensors", ".bin", ".pt", ".pth", ".ckpt"};
// transformers' utils/__init__.py (SAFE_WEIGHTS_NAME, WEIGHTS_NAME), diffusers' utils/constants.py, peft's utils/constants.py.
constexpr std::string_view kStandardStems[] = {"model", "pytorch_model", "diffusion_pytorch_model",
                                               "adapter_model"};
// Beside a model in a trainer's folder: transformers' trainer.py, accelerate's utils/constants.py.
constexpr std::string_view kOfTrainers[] = {"optimizer",     "scheduler",     "training_args",
                                            "scaler",        "rng_state",     "random_states",
                                            "dl_state_dict", "trainer_state", "sampler"};

template <class Texts>
bool contains(const Texts& texts, std::string_view text) {
  return std::ranges::find(texts, text) != std::end(texts);
}

// "model-00002-of-00003.safetensors"
struct SetName {
  std::string_view stem;
  std::uint64_t count;
};

std::optional<std::uint64_t> number(std::string_view digits) {
  constexpr std::size_t kMostDigits = 6;
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  const bool is_number = error == std::errc() && end == digits.data() + digits.size();
  return is_number && digits.size() <= kMostDigits ? std::optional(value) : std::nullopt;
}

// Takes apart what is before the suffix; nothing if it is not numbered.
std::optional<SetName> set_name(std::string_view name) {
  const std::size_t of = name.rfind("-of-");
  if (of == std::string_view::npos || of == 0) return std::nullopt;
  const std::size_t dash = name.substr(0, of).rfind('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto which = number(name.substr(dash + 1, of - dash - 1));
  const auto count = number(name.substr(of + 4));
  if (!which || !count || *count == 0 || *which > *count) return std::nullopt;
  return SetName{name.substr(0, dash), *count};
}

struct Candidate {
  FolderModel model;
  std::string stem;  // "model" for pytorch_model too: the same in another format
  bool is_standard = false, is_safetensors = false;
};

std::string stem_of(std::string_view name) {
  return std::string(name == "pytorch_model" ? "model" : name);
}

// "model.safetensors.index.json", "model.safetensors.index.fp16.json"
Candidate by_index(const Folder& folder, const std::string& name) {
  const std::string_view before = std::string_view(name).substr(0, name.find(".index."));
  const std::size_t dot = before.rfind('.');
  Candidate found;
  found.model.name = name;
  found.stem = stem_of(before.substr(0, dot));
  found.is_standard = name.ends_with(kIndexSuffix);  // a variant has its name before .json
  found.is_safetensors = before.ends_with(".safetensors");
  found.model.index = folder.open(name);
  try {
    found.model.map = read_map(*found.model.index);
  } catch (const FormatError&) {
    found.model.index_error = std::current_exception();
  }
  return found;
}

bool is_index(std::string_view name) {
  return name.find(".index.") != std::string_view::npos && name.ends_with(".json");
}

bool is_of_trainer(std::string_view name) {
  return std::ranges::any_of(kOfTrainers, [&](std::string_view stem) {
    return name == stem || name.starts_with(std::string(stem) + "_") ||
           name.starts_with(std::string(stem) + "-");
  });
}

std::string quoted(const std::string& name) { return "\"" + name + "\""; }

// What is in the folder, by the kinds that matter here.
struct Listing {
  std::vector<Candidate> candidates;
  std::vector<std::string> of_trainers;  // files
  std::vector<std::string> folders;
};

// Adds a file without an index, to the set that it is numbered in or as a model of its own.
void add_file(Listing& listing, std::map<std::string, std::size_t>& sets, const std::string& name,
              std::string_view suffix) {
  const std::string_view rest = std::string_view(name).substr(0, name.size() - suffix.size());
  if (is_of_trainer(rest)) {
    listing.of_trainers.push_back(name);
    return;
  }
  const auto set = set_name(rest);
  const std::string_view stem = set ? set->stem : rest;
  if (set) {
    const std::string key =
        std::string(stem) + "/" + std::to_string(set->count) + std::string(suffix);
    const auto [known, is_new] = sets.try_emplace(key, listing.candidates.size());
    if (!is_new) {
      listing.candidates[known->second].model.files.push_back(name);
      return;
    }
  }
  Candidate found;
  found.model.name = name;
  found.model.files = {name};
  found.model.count = set ? set->count : 1;
  found.stem = stem_of(stem);
  found.is_standard = contains(kStandardStems, stem);
  found.is_safetensors = suffix == ".safetensors";
  listing.candidates.push_back(std::move(found));
}

Listing list(const Folder& folder) {
  Listing listing;
  std::set<std::string> indexed;                   // files that an index lists
  std::set<std::pair<std::string, bool>> by_stem;  // of indexes
  const std::vector<std::string> names = folder.names();
  for (const std::string& name : names) {
    if (!is_index(name)) continue;
    listing.candidates.push_back(by_index(folder, name));
    const Candidate& found = listing.candidates.back();
    for (const auto& [tensor, file] : found.model.map) indexed.insert(file);
    by_stem.emplace(found.stem, found.is_safetensors);
  }
  std::map<std::string, std::size_t> sets;  // numbers of candidates
  for (const std::string& name : names) {
    std::error_code ignored;
    if (std::filesystem::is_directory(folder.path() / name, ignored)) {
      listing.folders.push_back(name);
      continue;
    }
    // Hidden: what macOS keeps beside files ("._model.safetensors"), and saves that were interrupted.
    if (indexed.contains(name) || name.starts_with('.')) continue;
    const auto* const suffix =
        std::ranges::find_if(kSuffixes, [&](std::string_view end) { return name.ends_with(end); });
    if (suffix != std::end(kSuffixes)) add_file(listing, sets, name, *suffix);
  }
  // An index says which of the numbered files are the model; others are left from another save.
  std::erase_if(listing.candidates, [&](const Candidate& c) {
    return !c.model.index && c.model.count > 1 && by_stem.contains({c.stem, c.is_safetensors});
  });
  return listing;
}

[[noreturn]] void fail_none(const Folder& folder, const Listing& listing) {
  const auto names = [](const std::vector<std::string>& all) {
    constexpr std::size_t kMostNames = 5;
    std::string text;
    for (std::size_t i = 0; i < std::min(all.size(), kMostNames); ++i)
      text += (i > 0 ? ", " : "") + quoted(all[i]);
    return text + (all.size() > kMostNames ? ", …" : "");
  };
  if (folder.has(".metadata")) {
    throw FormatError(
        folder.path().string() +
        ": a checkpoint of torch.distributed.checkpoint, which is not read yet; python -m "
        "torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE turns it into one "
        "file");
  }
  throw FormatError(folder.path().string() +
                    ": the folder holds no model: neither safetensors, nor a file of torch.save "
                    "(.bin, .pt, .pth, "
                    ".ckpt), nor an index of shards (*.index.json)" +
                    (!listing.of_trainers.empty()
                         ? ". It has the state of a training in " + names(listing.of_trainers) +
                               ": name the one " + "that is meant"
                     : !listing.folders.empty()
                         ? ". If one of its folders is meant, name it: " + names(listing.folders)
                         : "; name the file that is meant"));
}

[[noreturn]] void fail_several(const Folder& folder, const std::vector<const Candidate*>& pool) {
  std::string names;
  for (const Candidate* const c : pool) {
    names += (names.empty() ? "" : ", ") + quoted(c->model.name) +
             (c->model.count > 1 ? " (a set of " + std::to_string(c->model.count) + " files)" : "");
  }
  const bool is_distributed = std::ranges::all_of(pool, [](const Candidate* c) {
    return c->model.name.starts_with("shard-") && c->stem.ends_with("-model");
  });
  throw FormatError(
      folder.path().string() + ": the folder holds several models: " + names +
      (is_distributed
           ? ". They are parts of one, as torch.distributed.checkpoint writes them, which "
             "is not read yet"
           : "; name the one that is meant, by its path"));
}

}  // namespace

FolderModel model_of(const Folder& folder) {
  const Listing listing = list(folder);
  std::vector<const Candidate*> pool;
  const auto take_if = [&](const auto& is_meant) {
    for (const Candidate& c : listing.candidates)
      if (is_meant(c)) pool.push_back(&c);
  };
  take_if([](const Candidate& c) { return c.is_standard; });
  if (pool.empty()) take_if([](const Candidate&) { return true; });
  if (pool.empty()) fail_none(folder, listing);
  const bool is_one = std::ranges::all_of(
      pool, [&](const Candidate* c) { return c->is_standard && c->stem == pool.front()->stem; });
  if (is_one && std::ranges::any_of(pool, &Candidate::is_safetensors))
    std::erase_if(pool, [](const Candidate* c) { return !c->is_safetensors; });
  if (pool.size() > 1) fail_several(folder, pool);
  const FolderModel& chosen = pool.front()->model;
  if (chosen.index_error) std::rethrow_exception(chosen.index_error);
  return chosen;
}

}  // namespace transload::shards
