// Runs a part of a test in a process of its own: its memory can be measured, its devices broken.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <exception>
#include <stdexcept>
#include <string>

namespace transload {

// What `work` returns, a text. What it throws is thrown here, as std::runtime_error. To be called before this process
// has used a device or started a thread.
template <class Work>
std::string in_own_process(const Work& work) {
  int ends[2];
  if (pipe(ends) != 0) throw std::runtime_error("pipe");
  const pid_t child = fork();
  if (child == 0) {
    std::string text;
    try {
      text = std::string("+") + work();
    } catch (const std::exception& error) {
      text = std::string("-") + error.what();
    }
    std::size_t told = 0;
    while (told < text.size()) {
      const ssize_t n = write(ends[1], text.data() + told, text.size() - told);
      if (n <= 0) break;
      told += static_cast<std::size_t>(n);
    }
    _exit(0);
  }
  close(ends[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<std::size_t>(n));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (status != 0 || text.empty())
    throw std::runtime_error("the process ended with status " + std::to_string(status));
  if (text[0] == '-') throw std::runtime_error(text.substr(1));
  return text.substr(1);
}

}  // namespace transload
