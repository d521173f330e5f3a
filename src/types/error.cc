// The settings that errors advise, as C++ and in other words.
#include "transload/error.h"

#include "types/quotes.h"

namespace transload {
namespace {

// The braces of an initializer list around `values`, or around pairs.
std::string list_of(const std::vector<std::string>& values) {
  std::string text;
  for (const std::string& value : values) text += (text.empty() ? "" : ", ") + value;
  return "{" + text + "}";
}

}  // namespace

std::string str(const Setting& setting) {
  const auto& [option, values, mapped_to] = setting;
  if (values.empty()) return option + " = false";
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < values.size(); ++i) {
    texts.push_back(mapped_to.empty() ? as_literal(values[i])
                    : option == "map_location"
                        ? as_literal(values[i] + "=" + mapped_to[i])
                        : list_of({as_literal(values[i]), as_literal(mapped_to[i])}));
  }
  const bool is_single = mapped_to.empty() && (option == "at" || option == "map_location");
  const std::string name = option == "map_location" ? option : "select." + option;
  return name + " = " + (is_single ? texts.front() : list_of(texts));
}

void Error::add_advice(std::string_view before, const std::vector<Setting>& settings,
                       std::string_view after) {
  add(before);
  for (std::size_t i = 0; i < settings.size(); ++i) {
    if (i > 0) message_ += ", ";
    const std::string text = str(settings[i]);
    advised_.push_back({message_.size(), text.size(), settings[i]});
    message_ += text;
  }
  message_ += after;
}

std::string Error::message(const std::function<std::string(const Setting&)>& write) const {
  std::string text;
  std::size_t begin = 0;
  for (const Advised& advised : advised_) {
    text.append(message_, begin, advised.offset - begin);
    text += write(advised.setting);
    begin = advised.offset + advised.nbytes;
  }
  return text.append(message_, begin);
}

}  // namespace transload
