#include "source.h"

#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <cstring>
#include <mutex>

#include "convert.h"
#include "transload/source.h"

namespace transload::python {
namespace {

// An open file object. Its position is one for all threads, so that one read is done at a time.
class PythonSource final : public Source {
 public:
  // Call with the GIL held. Throws what the object's seek() raises.
  PythonSource(nb::object file, std::string name)
      : file_(kept(file)),
        name_(std::move(name)),
        has_readinto_(nb::hasattr(file, "readinto")),
        nbytes_(nb::cast<std::uint64_t>(position_after(file.attr("seek")(0, 2), file))) {}

  std::uint64_t nbytes() const override { return nbytes_; }

  // Call without the GIL: a thread that waits for the lock while it holds the GIL would keep the
  // reader from returning.
  void read(std::uint64_t offset, std::span<const std::span<std::byte>> parts) const override {
    const std::lock_guard lock(mutex_);
    const nb::gil_scoped_acquire gil;
    file().attr("seek")(offset);
    for (const std::span<std::byte> part : parts) {
      std::size_t done = 0;
      while (done < part.size()) {
        const std::size_t got = read_some(part.subspan(done));
        if (got == 0) fail_at_end(offset + done, part.size() - done);
        done += got;
      }
      offset += part.size();
    }
  }

 private:
  // tell() decides, where there is one: some objects return nothing from seek(), and torch's
  // _ReaderView, a part of a file, the position in the whole file.
  static nb::object position_after(nb::object sought, nb::handle file) {
    return nb::hasattr(file, "tell") ? nb::object(file.attr("tell")()) : sought;
  }

  nb::handle file() const { return {static_cast<PyObject*>(file_.get())}; }

  std::size_t read_some(std::span<std::byte> room) const {
    if (has_readinto_) {
      const nb::object view = nb::steal(PyMemoryView_FromMemory(
          reinterpret_cast<char*>(room.data()), static_cast<Py_ssize_t>(room.size()), PyBUF_WRITE));
      if (!view) throw nb::python_error();
      const nb::object got = file().attr("readinto")(view);
      view.attr("release")();  // the object cannot write there later
      return got.is_none() ? 0 : within(nb::cast<std::size_t>(got), room.size());
    }
    const nb::object bytes = file().attr("read")(room.size());
    if (!PyBytes_Check(bytes.ptr()))
      throw nb::type_error(
          (name_ + ": read() did not return bytes; open it in binary mode").c_str());
    const std::size_t got =
        within(static_cast<std::size_t>(PyBytes_GET_SIZE(bytes.ptr())), room.size());
    if (got) std::memcpy(room.data(), PyBytes_AS_STRING(bytes.ptr()), got);
    return got;
  }

  std::size_t within(std::size_t got, std::size_t room) const {
    if (got <= room) return got;
    throw IoError(name_ + ": expected at most " + std::to_string(room) +
                      " bytes of a read, found " + std::to_string(got),
                  0);
  }

  [[noreturn]] void fail_at_end(std::uint64_t offset, std::uint64_t nbytes) const {
    throw IoError(name_ + ": offset " + std::to_string(offset) + ": expected " +
                      std::to_string(nbytes) + " more bytes, but read() returned none",
                  0);
  }

  std::shared_ptr<void> file_;
  std::string name_;
  bool has_readinto_;
  std::uint64_t nbytes_;
  mutable std::mutex mutex_;  // guards the object's position; taken before the GIL
};

// An exported buffer, given back with the GIL by whichever thread lets go of it last.
struct Buffer {
  Py_buffer view;
  explicit Buffer(nb::handle object) {
    if (PyObject_GetBuffer(object.ptr(), &view, PyBUF_SIMPLE) != 0) throw nb::python_error();
  }
  ~Buffer() {
    const nb::gil_scoped_acquire gil;
    PyBuffer_Release(&view);
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
};

File file_of_buffer(nb::handle object, const std::string& name) {
  const auto buffer = std::make_shared<Buffer>(object);
  const std::span bytes(static_cast<const std::byte*>(buffer->view.buf),
                        static_cast<std::size_t>(buffer->view.len));
  return file_in_memory(name, bytes, buffer);
}

nb::bytes head(const File& file, std::size_t nbytes) {
  std::string bytes(std::min<std::uint64_t>(nbytes, file.nbytes()), '\0');
  const std::span<std::byte> room = std::as_writable_bytes(std::span(bytes));
  {
    const nb::gil_scoped_release released;
    file.source->read(0, {&room, 1});
  }
  return nb::bytes(bytes.data(), bytes.size());
}

}  // namespace

void define_files(nb::module_& module) {
  nb::class_<File>(module, "File", "Bytes that can be read at any offset, and the name for errors.")
      .def_static(
          "of_object",
          [](nb::object object, const std::string& name) {
            return File{name, std::make_shared<PythonSource>(std::move(object), name)};
          },
          nb::arg("object"), nb::arg("name"), "An object with seek(), and readinto() or read().")
      .def_static("of_buffer", file_of_buffer, nb::arg("object"), nb::arg("name"),
                  "The memory of a bytes-like object, which is not copied.")
      .def_static(
          "at_path",
          [](const std::filesystem::path& path, const std::string& name) {
            return open_file(path, name);
          },
          nb::arg("path"), nb::arg("name"), "A file on disk, with another name for errors.")
      .def_prop_ro("nbytes", &File::nbytes)
      .def("head", head, nb::arg("nbytes"), "The first bytes, or all of fewer.")
      .def(
          "from_offset",
          [](const File& file, std::uint64_t begin) {
            return part_of(file, begin, file.nbytes() - begin, file.name);
          },
          nb::arg("begin"), "The same bytes without the first ones.");
}

}  // namespace transload::python
