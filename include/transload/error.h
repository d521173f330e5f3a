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
#include <string>
#include <string_view>
#include <utility>

namespace transload {

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

 private:
  std::string message_;
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
