#include "core/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/error.h"

namespace mininn {

namespace {

namespace fs = std::filesystem;

// "PATH: what: the reason in errno".
[[noreturn]] void fail_with_errno(const fs::path& path, const char* what) {
  throw FileError(message(path.string(), ": ", what, ": ", std::strerror(errno)));
}

// Where a chain of links ends, also if there is nothing yet.
fs::path without_links(fs::path path) {
  std::error_code error;
  for (int i = 0; i < 40 && fs::is_symlink(path, error); ++i) path = path.parent_path() / fs::read_symlink(path, error);
  return path;
}

constexpr std::string_view kTemporary = ".mininn-";  // then a process, a number and ".tmp"

fs::path folder_of(const fs::path& file) { return file.has_parent_path() ? file.parent_path() : fs::path("."); }

// Removes the temporary files of writers that were killed: those that nobody holds locked.
void remove_stale(const fs::path& folder) {
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (!name.starts_with(kTemporary) || !name.ends_with(".tmp")) continue;
    const int fd = ::open(it->path().c_str(), O_RDWR | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) continue;
    if (::flock(fd, LOCK_EX | LOCK_NB) == 0) ::unlink(it->path().c_str());
    ::close(fd);
  }
}

}  // namespace

File open_regular_file(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) fail_with_errno(path, "cannot be opened");
  File file(::fdopen(fd, "rb"));
  struct stat status;
  if (!file || ::fstat(fd, &status) != 0) fail_with_errno(path, "cannot be opened");
  if (!S_ISREG(status.st_mode)) throw FileError(message(path.string(), ": is not a regular file"));
  return file;
}

uint64_t file_size(std::FILE* file) {
  struct stat status;
  if (::fstat(::fileno(file), &status) != 0) throw FileError(message("a file's size: ", std::strerror(errno)));
  return uint64_t(status.st_size);
}

std::string read_all(std::FILE* file, size_t most) {
  std::string bytes;
  char part[4096];
  for (size_t n; (n = std::fread(part, 1, std::min(sizeof part, most - bytes.size()), file)) > 0;)
    bytes.append(part, n);
  return bytes;
}

std::string read_file(const fs::path& path) {
  try {
    return read_all(open_regular_file(path).get());
  } catch (const FileError&) {
    return {};
  }
}

AtomicFile::AtomicFile(const fs::path& path) : given_(path), target_(without_links(path)) {
  struct stat status, own;
  const bool exists = ::stat(path.c_str(), &status) == 0;
  if (!exists && errno != ENOENT) fail("cannot be written");
  // This process's own output shares its position with the rest of it, even if it is a regular file.
  for (const int output : {STDOUT_FILENO, STDERR_FILENO})
    if (exists && !S_ISDIR(status.st_mode) && ::fstat(output, &own) == 0 && own.st_dev == status.st_dev &&
        own.st_ino == status.st_ino) {
      std::fflush(nullptr);
      if ((fd_ = ::fcntl(output, F_DUPFD_CLOEXEC, 0)) < 0) fail("cannot be written");
      return;
    }
  if (!exists || S_ISREG(status.st_mode)) {
    if (exists && ::access(path.c_str(), W_OK) != 0) fail("cannot be written");
    create_temporary();
    if (exists) ::fchmod(fd_, status.st_mode & 07777);
    return;
  }
  fd_ = ::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC);  // a FIFO that nobody reads must not be waited for
  if (fd_ < 0) fail("cannot be written");
  ::fcntl(fd_, F_SETFL, ::fcntl(fd_, F_GETFL) & ~O_NONBLOCK);
}

void AtomicFile::create_temporary() {
  static std::atomic<unsigned> counter{0};
  const fs::path folder = folder_of(target_);
  remove_stale(folder);
  for (;;) {
    temporary_ = (folder / message(kTemporary, ::getpid(), '-', counter++, ".tmp")).string();
    fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd_ < 0 && errno == EEXIST) continue;
    if (fd_ < 0) fail("cannot be written");
    // Locked, so that nobody takes it for a dead writer's; whoever came between has just removed it.
    struct stat status;
    const bool locked = ::flock(fd_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
    if (locked && ::fstat(fd_, &status) == 0 && status.st_nlink > 0) return;
    ::close(fd_);
  }
}

AtomicFile::~AtomicFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
  if (fd_ >= 0) ::close(fd_);
}

void AtomicFile::fail(const std::string& what) const { fail_with_errno(given_, what.c_str()); }

void AtomicFile::write(const void* data, size_t bytes) {
  for (const char* p = static_cast<const char*>(data); bytes;) {
    const ssize_t n = ::write(fd_, p, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(message("cannot write byte ", written_));
    p += n;
    bytes -= size_t(n);
    written_ += size_t(n);
  }
}

void AtomicFile::commit() {
  if (::fsync(fd_) != 0 && !temporary_.empty()) fail("cannot flush it to the disk");
  if (!temporary_.empty() && ::rename(temporary_.c_str(), target_.c_str()) != 0)
    fail("cannot rename the temporary file");
  const bool renamed = !std::exchange(temporary_, {}).empty();
  if (::close(std::exchange(fd_, -1)) != 0) fail("cannot close it");
  if (!renamed) return;
  if (const int dir = ::open(folder_of(target_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); dir >= 0) {
    ::fsync(dir);  // makes the rename durable; a file system that cannot do that has still done the rename
    ::close(dir);
  }
}

void require_writable(const fs::path& path) {
  struct stat status;
  const bool special = ::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode);
  if (!special)
    AtomicFile{path};                          // gone again, for it is not committed
  else if (::access(path.c_str(), W_OK) != 0)  // opening a FIFO would end its reader's wait
    fail_with_errno(path, "cannot be written");
}

void make_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw FileError(message(folder.string(), ": the folder cannot be made: ", error.message()));
}

FolderLock::FolderLock(const fs::path& folder) {
  make_folder(folder);
  fd_ = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd_ < 0) fail_with_errno(folder, "the folder cannot be opened");
  if (::flock(fd_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {  // not every file system has locks
    ::close(fd_);
    throw FileError(message(folder.string(), ": another process is writing to this folder"));
  }
}

FolderLock::~FolderLock() { ::close(fd_); }

void flush_standard_output() {
  const bool flushed = std::fflush(stdout) == 0;
  if (!flushed || std::ferror(stdout))
    throw FileError(
        message("standard output cannot be written", flushed ? "" : ": ", flushed ? "" : std::strerror(errno)));
}

}  // namespace mininn
