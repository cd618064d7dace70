// Files by means of C's library: a program that is linked statically then has no streams in it, which take 350 KB.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

struct stat;

namespace mininn {

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

// Null if it cannot be opened. `mode` is that of fopen().
inline File open_file(const std::filesystem::path& path, const char* mode) {
  return File(std::fopen(path.c_str(), mode));
}

// Where a chain of links ends, also if there is nothing yet. The links that /proc has for open files end it: they stand
// for the files, whatever is at the paths that they show.
std::filesystem::path without_links(std::filesystem::path path);

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
// Without commit() an old file stays as it was. Links are followed; an old file keeps its permissions, owner and group.
//
// Where that cannot be (a folder that may not be written, a file of somebody else or that is mounted by itself),
// commit() writes over the old file: a process or machine that dies during that leaves a part. What is no regular file
// (a device, a FIFO) and what stands for an open file of this process (/dev/stdout, /dev/fd/3) is written to directly,
// without any of this. All functions throw FileError.
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
  void share(int descriptor);            // writes go there
  bool replace(const struct stat& old);  // false if the old file must be written over
  bool create_temporary();               // false, with errno, if there can be none
  void put(const char* data, size_t bytes);
  [[noreturn]] void fail(const std::string& what) const;

  std::filesystem::path given_, target_;  // as given, and without links
  std::string temporary_;                 // empty where the target is written to directly
  bool in_place_ = false;                 // commit() writes `pending_` over an old file
  std::string pending_;
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

// Keeps a file that is written again and again to one writer: while this lives no second one can be made for the file,
// by whatever link. It is a temporary file beside it that goes with this, or with the next AtomicFile in the folder if
// the process is killed; where none can be made there is no lock. What is no regular file may have many writers. Throws
// FileError.
class FileLock {
 public:
  explicit FileLock(const std::filesystem::path& file);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  std::string name_;
  int fd_ = -1;
};

// For the begin of main(): a program started with closed standard streams (>&-) would get their numbers for the files
// that it opens, and print into them. Afterwards printing fails, as it should.
void occupy_standard_streams();

// Throws FileError if not all that was printed has reached standard output (a full disk): at the end of main().
void flush_standard_output();

}  // namespace mininn
