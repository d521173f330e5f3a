// The models that a folder holds, told from its files' names and the indexes among them, and the one that is meant.
#pragma once

#include <exception>
#include <optional>
#include <string>
#include <vector>

#include "format/shards.h"
#include "io/folder.h"

namespace transload::shards {

// A model: one file, the files that an index lists, or files that are numbered as "model-00001-of-00003.safetensors".
struct FolderModel {
  std::string name;                // for people: a file, or the first of the set
  std::vector<std::string> files;  // of one without an index: that are there, sorted
  std::uint64_t count = 1;         // of files that it should have
  std::optional<File> index{};
  WeightMap map{};                   // of the index
  std::exception_ptr index_error{};  // why the index cannot be read; null: it can
};

// Returns the model that a folder is opened as: its only one, or the one under a name that from_pretrained() of transformers,
// diffusers or peft looks for, as safetensors if it is there twice. Optimizers, schedulers and the like are not models.
// Throws FormatError that names the candidates if there are several, and says what is there if there are none.
FolderModel model_of(const Folder& folder);

}  // namespace transload::shards
