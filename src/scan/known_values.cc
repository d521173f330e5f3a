// Facts: numpy/_core/src/multiarray/descriptor.c for dtypes; joblib/numpy_pickle.py.
#include "scan/known_values.h"

#include <algorithm>
#include <charconv>
#include <utility>

namespace transload {
namespace {

constexpr std::size_t kMostTuples = 200'000;

bool is_computed_or_callable(const Known& value) {
  using enum Known::Kind;
  return value.kind == global || value.kind == result || value.kind == attribute ||
         value.kind == looked_up || value.kind == tuple;
}

// Words and numbers do not: "mean", "org/model", "text/plain".
bool reads_as_resource(std::string_view text) {
  return text.starts_with('/') || text.starts_with('~') || text.starts_with("./") ||
         text.starts_with("../") || text.find("://") != text.npos ||
         text.find("\\\\") != text.npos || (text.size() > 2 && text.substr(1, 2) == ":\\") ||
         text.find(" -") != text.npos || text.find(" /") != text.npos ||
         text.find_first_of(";|&`$<>") != text.npos;
}

AboutGlobal about_global(std::string_view module, std::string_view name) {
  AboutGlobal about{kind_of_global(module, name), constructor_of(module, name)};
  about.is_scalar = name == "scalar" && module.ends_with("multiarray");
  about.is_dtype = name == "dtype" && module == "numpy";
  about.is_wrapper = name.substr(name.rfind('.') + 1) == "NumpyArrayWrapper";
  return about;
}

}  // namespace

std::string shown(std::string text) {
  const std::size_t line = text.find('\n');
  if (line != text.npos) text[line] = '.';
  return text;
}

const AboutGlobal& Texts::about(const Known& global) {
  const auto at = about_.find(global.text);
  if (at != about_.end()) return at->second;
  const GlobalName of((*this)[global]);
  return about_.emplace(global.text, about_global(of.module, of.name)).first->second;
}

Known Texts::global(std::string_view module, std::string_view name) {
  return {Known::Kind::global, false,
          number_of(std::string(module.substr(0, kMaxName)) + "\n" +
                    std::string(name.substr(0, kMaxName)))};
}

Known Texts::text(std::string_view text) {
  text = text.substr(0, kMaxName);
  return {Known::Kind::text, reads_as_resource(text), number_of(std::string(text))};
}

Known Texts::attribute(const Known& owner, const Known& name) {
  return {Known::Kind::attribute, false, number_of((*this)[owner] + "." + (*this)[name])};
}

Known Texts::dtype(const Known& global, const Known& code) {
  const std::uint32_t number =
      code.kind == Known::Kind::text ? code.text : number_of(std::string("unknown"));
  return {Known::Kind::result, false, global.text, number};
}

std::uint32_t Texts::number_of(std::string text) {
  const auto [at, is_new] =
      numbers_.try_emplace(std::move(text), static_cast<std::uint32_t>(texts_.size()));
  if (!is_new) return at->second;
  texts_.push_back(&at->first);
  nbytes_ += at->first.size();
  if (nbytes_ > most_nbytes_) throw Broken{"brings more names and texts than a model has", true};
  return at->second;
}

Known Texts::tuple(std::span<const Known> items) {
  const bool is_id = items.size() > 1 && items[0].kind == Known::Kind::text &&
                     (*this)[items[0]] == "storage" && items[1].kind == Known::Kind::global;
  if (is_id) return {Known::Kind::storage_id};
  const bool has_resource = std::ranges::any_of(items, &Known::has_resource);
  const bool is_simple = std::ranges::none_of(items, is_computed_or_callable);
  items = items.first(std::min(items.size(), kMaxTupleItems));
  std::string key;
  for (const Known& item : items) {
    key += static_cast<char>(item.kind);
    key.append(reinterpret_cast<const char*>(&item.text), sizeof item.text);
    key.append(reinterpret_cast<const char*>(&item.more), sizeof item.more);
  }
  key += has_resource ? '+' : '-';
  if (const auto at = tuple_numbers_.find(key); at != tuple_numbers_.end())
    return {Known::Kind::tuple, has_resource, at->second};
  if (tuples_.size() >= kMostTuples) {
    if (is_simple) return {Known::Kind::nothing, has_resource};
    throw Broken{"brings more pairs of names and values than a model has", true};
  }
  const auto number = static_cast<std::uint32_t>(tuples_.size());
  tuple_numbers_.emplace(std::move(key), number);
  tuples_.push_back({{items.begin(), items.end()}});
  return {Known::Kind::tuple, has_resource, number};
}

std::span<const Known> Texts::items(const Known& tuple) const {
  if (tuple.kind != Known::Kind::tuple) return {};
  return tuples_[tuple.text].items;
}

bool Texts::visit(const Known& tuple) {
  return !std::exchange(tuples_[tuple.text].is_visited, true);
}

DtypeCode::DtypeCode(std::string_view code) {
  if (!code.empty() && std::string_view("<>|=").find(code[0]) != code.npos) code.remove_prefix(1);
  constexpr std::string_view kLetters = "biufcSUMmOV";
  if (code == "?") code = "b1";
  if (code.size() < 2 || kLetters.find(code[0]) == code.npos) return;
  const auto [end, error] = std::from_chars(code.data() + 1, code.data() + code.size(), nbytes);
  if (error != std::errc() || end != code.data() + code.size() || nbytes > 1u << 30) return;
  letter = code[0];
  if (letter == 'U') nbytes *= 4;
}

Known KnownStack::pop() {
  const std::size_t floor = marks_.empty() ? 0 : marks_.back();
  if (values_.size() <= floor) throw Broken{"needs a value, but the stack has none"};
  const Known top = values_.back();
  values_.pop_back();
  return top;
}

void KnownStack::pop_value_or_mark() {
  if (!marks_.empty() && values_.size() == marks_.back())
    marks_.pop_back();
  else
    pop();
}

std::span<const Known> KnownStack::take_mark() {
  if (marks_.empty()) throw Broken{"needs a mark, but there is none"};
  const std::size_t begin = std::min(marks_.back(), values_.size());
  marks_.pop_back();
  return std::span(values_).subspan(begin);
}

}  // namespace transload
