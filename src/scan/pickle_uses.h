// PickleUses: the uses that a walk over a pickle found, each name and way once, with their verdicts.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "scan/known_values.h"
#include "transload/scan.h"

namespace transload {

class PickleUses {
 public:
  using How = PickleUse::How;

  // Both arguments must outlive it. member: goes into each use.
  PickleUses(Texts& texts, const std::string& member)
      : texts_(texts), member_(member.substr(0, kMaxName)) {}

  void set_offset(std::size_t offset) { offset_ = offset; }

  // Adds a use, or counts it again. The worst verdict stays.
  void add(How how, std::string name, Verdict verdict);

  // A name that is imported. What becomes of it is judged when it is used.
  void add_mention(const Known& global);
  // A value that is called or made: a name, or something else, which may be anything.
  void add_use(How how, const Known& of);
  // An object has a state to set. A class, a module or what others use too has none that a pickler would set.
  void add_set_state(const Known& of);
  // Items that are set in, or appended to, a value that no pickler would do it to: a module's dict, a class.
  void add_set_items(const Known& of);
  // Values that become a part of others: whoever gets them can call them.
  void give_away(std::span<const Known> values);
  void give_away(const Known& value) { give_away({&value, 1}); }

  std::vector<PickleUse> take() { return std::move(uses_); }

 private:
  void add_judged(How how, const Known& global);
  // Null: the use is new.
  PickleUse* find(How how, const std::string& name);

  Texts& texts_;
  const std::string member_;
  std::size_t offset_ = 0;
  std::map<std::pair<How, std::string>, std::size_t> seen_;
  std::vector<PickleUse> uses_;
};

}  // namespace transload
