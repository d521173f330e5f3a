// The exceptions of transload. A message says where the error is (path, offset, key, device), what
// was found, what was expected, and the way out if there is one. It may have several lines.
//
//   try {
//     state = transload::load("model.pt");
//   } catch (const transload::UnsafePickleError& error) {
//     // The pickle names code. `transload scan` lists it.
//   } catch (const transload::Error& error) {
//     std::cerr << error.what() << '\n';
//   }
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace transload {

// A setting of an option that an error advises, so that each language can write it in its own way.
// A rename of {"module.*"} to {"*"} is `select.rename = {{"module.*", "*"}}` in C++,
// rename={"module.*": "*"} in Python and --rename 'module.*=*' in a shell.
struct Setting {
  std::string option;               // at, keep, drop, rename, map_location or strict
  std::vector<std::string> values;  // empty: false
  // Of a rename the new names, and of map_location the devices: one for each value. Empty if the
  // values are not mapped to anything.
  std::vector<std::string> mapped_to{};
};

// Returns the setting as C++: `select.drop = {"head.*"}`.
std::string str(const Setting& setting);

// The base of all exceptions of the library. A caller that knows more about the cause catches it by
// reference, adds a line and rethrows it with `throw;`.
class Error : public std::exception {
 public:
  explicit Error(std::string message) : message_(std::move(message)) {}
  const char* what() const noexcept override { return message_.c_str(); }

  // Appends a line to the message, indented by two spaces.
  void add(std::string_view line) {
    message_ += "\n  ";
    message_ += line;
  }

  // Appends a line that advises settings: `before`, the settings as C++ joined by commas, `after`.
  void add_advice(std::string_view before, const std::vector<Setting>& settings,
                  std::string_view after);

  // Returns the message with the settings that it advises as `write` words them.
  std::string message(const std::function<std::string(const Setting&)>& write) const;

 private:
  struct Advised {
    std::size_t offset, nbytes;  // of its text in message_
    Setting setting;
  };

  std::string message_;
  std::vector<Advised> advised_;  // in the order of the message
};

// The operating system refused a request, or a file ended early. The message names the file and the
// reason.
class IoError : public Error {
 public:
  IoError(std::string message, int error_number)
      : Error(std::move(message)), error_number_(error_number) {}
  // Returns the errno of the failed call; 0 if a file ended early.
  int error_number() const { return error_number_; }

 private:
  int error_number_;
};

// The file is damaged, or it does not have the format that its first bytes announce.
class FormatError : public Error {
 public:
  using Error::Error;
};

// The file or the request is valid but needs a feature that transload does not have.
class UnsupportedError : public Error {
 public:
  using Error::Error;
};

// A pickle names a class or function that is not on the allow-list, and the options do not accept
// it.
class UnsafePickleError : public Error {
 public:
  using Error::Error;
};

// Rules of a map_location conflict, or a device is not present.
class PlacementError : public Error {
 public:
  using Error::Error;
};

// The keys, shapes or dtypes of the source and of the live tensors do not match. The message lists
// all mismatches.
class MismatchError : public Error {
 public:
  using Error::Error;
};

// A device's driver failed, or the device does not have enough memory.
class DeviceError : public Error {
 public:
  using Error::Error;
};

}  // namespace transload
