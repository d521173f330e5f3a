#include "scan/pickle_calls.h"

#include <algorithm>

#include "pickle/globals.h"
#include "pickle/words.h"

namespace transload {
namespace {

using Kind = Known::Kind;

Known only_global(const Known& value) { return value.kind == Kind::global ? value : Known{}; }

bool is_builtin_base(const Texts& texts, const Known& value) {
  if (value.kind != Kind::global) return false;
  const GlobalName of(texts[value]);
  constexpr std::string_view kBases =
      "object dict list tuple set frozenset int long float complex str unicode bytes bytearray";
  return (of.module == "builtins" || of.module == "__builtin__") && has_word(kBases, of.name);
}

bool is_of_numpy_or_torch(const Texts& texts, const Known& result) {
  const std::string& of = texts[result];
  return of.starts_with("numpy") || of.starts_with("torch") || of.starts_with("_codecs\n") ||
         of.starts_with("collections\n");
}

}  // namespace

Known PickleCalls::call(How how, const Known& callable, const Known& arguments) {
  const bool is_global = callable.kind == Kind::global;
  if (is_global && how == How::call) {
    if (const auto attribute = get_attribute(callable, arguments)) return *attribute;
  }
  uses_.add_use(how, callable);
  Known made;
  if (is_global || callable.kind == Kind::result || callable.kind == Kind::attribute)
    made = {Kind::result, false, callable.text};
  if (is_global) {
    const AboutGlobal& about = texts_.about(callable);
    made = judge_arguments(how, about, callable, arguments, made);
    if (about.is_dtype) return dtypes_.make(callable, arguments);
  } else {
    uses_.give_away(arguments);
  }
  return made;
}

std::optional<Known> PickleCalls::get_attribute(const Known& callable, const Known& arguments) {
  const auto pair = texts_.items(arguments);
  const bool is_attribute = pair.size() == 2 && pair[1].kind == Kind::text &&
                            (pair[0].kind == Kind::global || pair[0].kind == Kind::result);
  if (!is_attribute || texts_.about(callable).constructor != Constructor::attribute)
    return std::nullopt;
  const Known made = texts_.attribute(pair[0], pair[1]);
  const GlobalName of(texts_[made]);
  if (pair[0].kind == Kind::global) {
    uses_.add(How::mention, shown(texts_[made]), judge_attribute(of.module, of.name).verdict);
  } else {
    if (!is_method_of_layer(of.module, texts_[pair[1]])) return std::nullopt;
    uses_.add(How::mention, shown(texts_[made]), Verdict::needs_classes);
  }
  return made;
}

Known PickleCalls::judge_arguments(How how, const AboutGlobal& about, const Known& callable,
                                   const Known& arguments, Known made) {
  const auto items = texts_.items(arguments);
  const std::string name = shown(texts_[callable]);
  if (calls_its_first_argument(about.constructor)) {
    uses_.add_use(How::call, items.empty() ? Known{} : only_global(items[0]));
  } else if (about.constructor == Constructor::partial) {
    judge_partial(name, items);
  } else if (about.constructor == Constructor::new_object) {
    return judge_new_object(name, items, arguments, made);
  } else if (about.kind == GlobalKind::from_arguments) {
    judge_maker(name, items);
  } else if (about.is_scalar) {
    const bool is_simple =
        items.size() == 2 && is_dtype(items[0]) && dtypes_.is_without_pointers(items[0]);
    if (!is_simple)
      uses_.add(How::call, name + " of a dtype that may hold pointers", Verdict::runs_code);
  } else if (about.kind == GlobalKind::needed_class || about.kind == GlobalKind::unknown_function) {
    judge_class(how, name, items, arguments);
  }
  uses_.give_away(arguments);
  return made;
}

void PickleCalls::judge_partial(const std::string& name, std::span<const Known> items) {
  if (items.empty() || items[0].kind != Kind::global)
    return uses_.add(How::call, name, Verdict::runs_code);
  const GlobalName of(texts_[items[0]]);
  uses_.add(How::mention, shown(texts_[items[0]]), judge_wrapped(of.module, of.name).verdict);
}

Known PickleCalls::judge_new_object(const std::string& name, std::span<const Known> items,
                                    const Known& arguments, Known made) {
  const bool is_of_base =
      name.ends_with("__newobj__") || (items.size() == 3 && is_builtin_base(texts_, items[1]));
  if (items.empty() || items[0].kind != Kind::global || !is_of_base) {
    uses_.add(How::call, name + " of what is not a class", Verdict::runs_code);
    uses_.give_away(arguments);
    return made;
  }
  uses_.add_use(How::make, items[0]);
  uses_.give_away(items.subspan(1));
  return {Kind::result, false, items[0].text};
}

void PickleCalls::judge_maker(const std::string& name, std::span<const Known> items) {
  for (const Known& item : items) {
    if (item.kind == Kind::global) uses_.add_use(How::call, item);
    const bool is_computed = item.kind == Kind::attribute || item.kind == Kind::looked_up ||
                             (item.kind == Kind::result && !is_of_numpy_or_torch(texts_, item));
    if (is_computed) uses_.add(How::call, name + " of what another call made", Verdict::runs_code);
  }
}

void PickleCalls::judge_class(How how, const std::string& name, std::span<const Known> items,
                              const Known& arguments) {
  if (arguments.has_resource)
    uses_.add(how, name + " with a path, URL or command", Verdict::runs_code);
  const bool has_callable = how == How::call && std::ranges::any_of(items, [&](const Known& item) {
                              if (item.kind == Kind::attribute) return true;
                              if (item.kind != Kind::global) return false;
                              const GlobalKind kind = texts_.about(item).kind;
                              return kind != GlobalKind::plain_data &&
                                     kind != GlobalKind::data_type &&
                                     kind != GlobalKind::made_by_reader;
                            });
  if (has_callable) uses_.add(how, name + " with something to call", Verdict::runs_code);
}

}  // namespace transload
