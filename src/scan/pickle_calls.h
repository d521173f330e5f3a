// PickleCalls: judges the calls of a pickle, each by what is called and by its arguments. Some names are harmless only with
// some arguments: those that call their first argument, make an object of a class, or give an attribute.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "scan/known_values.h"
#include "scan/pickle_dtypes.h"
#include "scan/pickle_uses.h"

namespace transload {

class PickleCalls {
 public:
  using How = PickleUse::How;

  // All arguments must outlive it.
  PickleCalls(Texts& texts, PickleUses& uses, PickleDtypes& dtypes)
      : texts_(texts), uses_(uses), dtypes_(dtypes) {}

  // Judges a call and adds its uses. Returns what it makes.
  Known call(How how, const Known& callable, const Known& arguments);
  // Judges the items of functools.partial: the function comes first. `name`: of the partial.
  void judge_partial(const std::string& name, std::span<const Known> items);

 private:
  // getattr(class, "name") gives the name "class.name". Returns nothing if it is given anything else than a class or a
  // layer: it may then give a function of anything.
  std::optional<Known> get_attribute(const Known& callable, const Known& arguments);
  // Judges what a call does with its arguments. Returns what it makes: `made`, if they do not decide that.
  Known judge_arguments(How how, const AboutGlobal& about, const Known& callable,
                        const Known& arguments, Known made);
  // copyreg._reconstructor(class, base, state), __newobj__(class, …): base.__new__(class, state).
  Known judge_new_object(const std::string& name, std::span<const Known> items,
                         const Known& arguments, Known made);
  // Makers of NumPy's values: a class or function among the arguments is called.
  void judge_maker(const std::string& name, std::span<const Known> items);
  // A class that is not known may do anything with what it is given.
  void judge_class(How how, const std::string& name, std::span<const Known> items,
                   const Known& arguments);

  Texts& texts_;
  PickleUses& uses_;
  PickleDtypes& dtypes_;
};

}  // namespace transload
