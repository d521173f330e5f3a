# Writes a C++ source that holds a text file: cmake -DIN=… -DOUT=… -DNAME=… -P embed_text.cmake
file(READ "${IN}" text)
get_filename_component(in "${IN}" NAME)
file(WRITE "${OUT}" "// Made by embed_text.cmake from ${in}.
namespace transload::nn {
extern const char* const ${NAME};
const char* const ${NAME} = R\"~~~(${text})~~~\";
}  // namespace transload::nn
")
