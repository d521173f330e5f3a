// The settings that would make the tensors of a file or state dict fit live ones, for the error that
// says that they do not. Between match() and its MismatchError.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "plan/match.h"
#include "transload/error.h"

namespace transload {

// What match() found.
struct Mismatch {
  const StateDict& source;
  const FillOptions& options;
  std::set<std::string> live;        // all names of the live model
  std::vector<std::string> sources;  // selected names of the source, in its order, before renames
  std::vector<std::string> misfits;  // those that a live tensor cannot take
  FillResult keys;                   // missing and unexpected ones
};

// Adds a line that advises a part, a rename, or names that are nearly the same, if that makes
// missing keys match. Advice that would not help is left out.
void advise_names(Error& error, const Mismatch& mismatch);

// Adds a line that advises which patterns to drop for the rest to be filled.
void advise_drop(Error& error, const Mismatch& mismatch);

}  // namespace transload
