// The version of these headers. The number is written here only: CMake and pyproject.toml read it from this file.
#pragma once

namespace transload {

inline constexpr char kVersion[] = "0.1.0";
inline constexpr int kVersionMajor = 0;
inline constexpr int kVersionMinor = 1;
inline constexpr int kVersionPatch = 0;

}  // namespace transload
