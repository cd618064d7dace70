// Files by means of C's library: a program that is linked statically then has no streams in it, which take 350 KB.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

namespace mininn {

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

// Null if it cannot be opened. `mode` is that of fopen().
inline File open_file(const std::filesystem::path& path, const char* mode) {
  return File(std::fopen(path.c_str(), mode));
}

// Opens a regular file, or what a link to one leads to, for reading. Nothing else is an input: a pipe may never end, a
// FIFO waits for its writer. Throws FileError saying why not.
File open_regular_file(const std::filesystem::path& path);

// In bytes.
uint64_t file_size(std::FILE* file);

// All that is left to read of an open file, up to `most` bytes.
std::string read_all(std::FILE* file, size_t most = SIZE_MAX);

// The bytes of a regular file: nothing, if it cannot be opened.
std::string read_file(const std::filesystem::path& path);

// Writes a file that appears whole or not at all: the bytes go to a temporary file beside it, which commit() renames.
// Without commit() an old file stays as it was. Links are followed, an old file's permissions are kept; what is no
// regular file (a device, a FIFO, /dev/stdout) is written to as it is. All functions throw FileError.
class AtomicFile {
 public:
  explicit AtomicFile(const std::filesystem::path& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, size_t bytes);
  // Everything reaches the disk before the name does.
  void commit();

 private:
  void create_temporary();
  [[noreturn]] void fail(const std::string& what) const;

  std::filesystem::path given_, target_;  // as given, and without links
  std::string temporary_;                 // empty where the target is written to directly
  int fd_ = -1;
  size_t written_ = 0;
};

// Throws FileError if an AtomicFile of this path could not be made now: before long work, not after it.
void require_writable(const std::filesystem::path& path);

// Makes a folder and those above it; nothing where it exists. Throws FileError.
void make_folder(const std::filesystem::path& folder);

// Makes a folder and keeps it to one writer: while this lives no second one can be made for the folder. The kernel
// lets go of it when the process ends, however it does. Throws FileError.
class FolderLock {
 public:
  explicit FolderLock(const std::filesystem::path& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int fd_ = -1;
};

// Throws FileError if not all that was printed has reached standard output (a full disk): at the end of main().
void flush_standard_output();

}  // namespace mininn
