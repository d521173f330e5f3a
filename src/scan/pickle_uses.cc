#include "scan/pickle_uses.h"

#include <algorithm>

namespace transload {
namespace {

constexpr std::size_t kMaxUses = 10'000;

}  // namespace

PickleUse* PickleUses::find(How how, const std::string& name) {
  const auto found = seen_.find({how, name});
  return found == seen_.end() ? nullptr : &uses_[found->second];
}

void PickleUses::add(How how, std::string name, Verdict verdict) {
  if (PickleUse* const use = find(how, name)) {
    use->verdict = std::max(use->verdict, verdict);
    ++use->count;
    return;
  }
  seen_.emplace(std::pair(how, name), uses_.size());
  uses_.push_back({how, verdict, std::move(name), member_, offset_, 1});
  if (uses_.size() > kMaxUses) throw Broken{"uses more names than a model does", true};
}

// Judges each name once: a checkpoint calls the same few for each of its tensors.
void PickleUses::add_judged(How how, const Known& global) {
  std::string name = shown(texts_[global]);
  if (PickleUse* const use = find(how, name)) {
    ++use->count;
    return;
  }
  const GlobalName of(texts_[global]);
  add(how, std::move(name), judge_global(of.module, of.name, how).verdict);
}

// A class may have any name: a name that is only imported, or made an object of, is judged as a class.
void PickleUses::add_mention(const Known& global) {
  if (texts_.about(global).kind == GlobalKind::unknown_function)
    return add(How::mention, shown(texts_[global]), Verdict::needs_classes);
  add_judged(How::mention, global);
}

void PickleUses::add_use(How how, const Known& of) {
  switch (of.kind) {
    case Known::Kind::global:
      if (how == How::call) give_away(of);
      return add_judged(how, of);
    case Known::Kind::result:  // the result of a call is called: it may be anything
    case Known::Kind::attribute:
      return add(how, shown(texts_[of]) + "()", Verdict::runs_code);
    case Known::Kind::looked_up:  // PyTorch's persistent_load of whole modules returns classes too
      return add(how, "what was looked up", Verdict::needs_classes);
    default:
      return add(how, "a value that is not a name", Verdict::runs_code);
  }
}

void PickleUses::add_set_state(const Known& of) {
  switch (of.kind) {
    case Known::Kind::result:
      return add_judged(How::set_state, of);
    case Known::Kind::global:
    case Known::Kind::attribute:
      return add(How::set_state, shown(texts_[of]) + " itself", Verdict::runs_code);
    case Known::Kind::looked_up:
      return add(How::set_state, "what was looked up, itself", Verdict::runs_code);
    default:
      return;
  }
}

void PickleUses::add_set_items(const Known& of) {
  if (of.kind == Known::Kind::global || of.kind == Known::Kind::attribute)
    add(How::set_state, "items of " + shown(texts_[of]), Verdict::runs_code);
}

void PickleUses::give_away(std::span<const Known> values) {
  for (const Known& value : values) {
    if (value.kind == Known::Kind::tuple) {
      // Tuples within were given away when this one was made.
      if (texts_.visit(value)) give_away(texts_.items(value));
      continue;
    }
    if (value.kind != Known::Kind::global) continue;
    const AboutGlobal& about = texts_.about(value);
    const bool is_getattr = about.constructor == Constructor::attribute;
    if (about.kind != GlobalKind::unknown_function && !is_getattr) continue;
    if (PickleUse* const use = find(How::mention, shown(texts_[value])))
      use->verdict = Verdict::runs_code;
  }
}

}  // namespace transload
