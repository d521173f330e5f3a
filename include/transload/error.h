// The exceptions of transload. Every message says where, what was found, what was expected, and the
// way out if there is one.
#pragma once

#include <cstdint>
#include <exception>
#include <string>
#include <string_view>
#include <utility>

namespace transload {

// Thrown by every function of the library. Who catches it and knows more adds a line, and throws it on.
class Error : public std::exception {
 public:
  explicit Error(std::string message) : message_(std::move(message)) {}
  const char* what() const noexcept override { return message_.c_str(); }

  // Appends "\n  line" to the message.
  void add(std::string_view line) {
    message_ += "\n  ";
    message_ += line;
  }

 private:
  std::string message_;
};

// The operating system refused: the message names the file and the reason.
class IoError : public Error {
 public:
  IoError(std::string message, int error_number)
      : Error(std::move(message)), error_number_(error_number) {}
  int error_number() const { return error_number_; }  // errno; 0 if a file ended early

 private:
  int error_number_;
};

// A damaged file, or no file of the format that it seemed to be.
class FormatError : public Error {
 public:
  using Error::Error;
};

// A sound file or a sensible request that needs something transload does not do.
class UnsupportedError : public Error {
 public:
  using Error::Error;
};

// A pickle names a class or function that is not plain data, and the options do not allow it.
class UnsafePickleError : public Error {
 public:
  using Error::Error;
};

// Rules for devices that conflict, or a device that is not there.
class PlacementError : public Error {
 public:
  using Error::Error;
};

// Keys, shapes or dtypes of what is loaded and of what is to be filled do not fit. Lists all of them.
class MismatchError : public Error {
 public:
  using Error::Error;
};

// A device's driver failed, or its memory is not enough.
class DeviceError : public Error {
 public:
  using Error::Error;
};

}  // namespace transload
