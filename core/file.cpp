#include "core/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
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

fs::path folder_of(const fs::path& file) { return file.has_parent_path() ? file.parent_path() : fs::path("."); }

}  // namespace

fs::path without_links(fs::path path) {
  struct stat folder, proc;
  std::error_code error;
  const bool has_proc = ::stat("/proc/self", &proc) == 0;
  for (int i = 0; i < 40 && fs::is_symlink(path, error); ++i) {
    if (has_proc && ::stat(folder_of(path).c_str(), &folder) == 0 && folder.st_dev == proc.st_dev) break;
    path = path.parent_path() / fs::read_symlink(path, error);
  }
  return path;
}

namespace {

// The descriptor of this process that such a link stands for (/dev/fd/3, /proc/self/fd/3, /dev/stdout), or -1.
int descriptor_of(const fs::path& target) {
  std::error_code error;
  const fs::path folder = fs::canonical(folder_of(target), error);
  if (error ||
      (folder != fs::canonical("/proc/self/fd", error) && folder != fs::canonical("/proc/thread-self/fd", error)))
    return -1;
  const std::string name = target.filename();
  int number = -1;
  const auto [end, failure] = std::from_chars(name.data(), name.data() + name.size(), number);
  return failure == std::errc() && end == name.data() + name.size() ? number : -1;
}

// Something is mounted there (a file that a container shares with its host): no other file can take the name.
bool is_mount_point(const fs::path& path) {
  struct statx status;
  return ::statx(AT_FDCWD, path.c_str(), 0, STATX_BASIC_STATS, &status) == 0 &&
         (status.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

constexpr std::string_view kTemporary = ".mininn-";  // then a process, a number and ".tmp"

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

// Takes the lock of a file that has just been opened, where there are locks. False if another one holds it or if the
// file is gone, removed by whoever held it.
bool lock_existing(int fd) {
  struct stat status;
  const bool locked = ::flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
  return locked && ::fstat(fd, &status) == 0 && status.st_nlink > 0;
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
  if (const int own = descriptor_of(target_); own >= 0) {
    share(own);
    return;
  }
  struct stat status, output;
  if (::stat(path.c_str(), &status) != 0) {
    if (errno != ENOENT || !create_temporary()) fail("cannot be written");
    return;
  }
  // This process's own output shares its position with the rest of it, even if it is a regular file.
  for (const int own : {STDOUT_FILENO, STDERR_FILENO})
    if (!S_ISDIR(status.st_mode) && ::fstat(own, &output) == 0 && output.st_dev == status.st_dev &&
        output.st_ino == status.st_ino) {
      share(own);
      return;
    }
  const bool regular = S_ISREG(status.st_mode);
  if (regular && ::access(path.c_str(), W_OK) != 0) fail("cannot be written");
  if (regular && replace(status)) return;
  fd_ = ::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC);  // a FIFO that nobody reads must not be waited for
  if (fd_ < 0) fail("cannot be written");
  ::fcntl(fd_, F_SETFL, ::fcntl(fd_, F_GETFL) & ~O_NONBLOCK);
  in_place_ = regular;
}

void AtomicFile::share(int descriptor) {
  std::fflush(nullptr);
  const int flags = ::fcntl(descriptor, F_GETFL);
  if (flags >= 0 && (flags & O_ACCMODE) == O_RDONLY) errno = EBADF;
  if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY || (fd_ = ::fcntl(descriptor, F_DUPFD_CLOEXEC, 0)) < 0)
    fail("cannot be written");
}

bool AtomicFile::replace(const struct stat& old) {
  if (is_mount_point(target_)) return false;
  if (!create_temporary()) {
    const bool forbidden = errno == EACCES || errno == EPERM || errno == EROFS || errno == ENOENT;  // the last in /proc
    if (!forbidden) fail("cannot be written");  // as on a full disk: the old file is not risked
    return false;
  }
  struct stat own;
  const bool same = ::fstat(fd_, &own) == 0 && own.st_uid == old.st_uid && own.st_gid == old.st_gid;
  if (same || ::fchown(fd_, old.st_uid, old.st_gid) == 0) {
    ::fchmod(fd_, old.st_mode & 07777);
    return true;
  }
  ::unlink(std::exchange(temporary_, {}).c_str());
  ::close(std::exchange(fd_, -1));
  return false;
}

bool AtomicFile::create_temporary() {
  static std::atomic<unsigned> counter{0};
  const fs::path folder = folder_of(target_);
  remove_stale(folder);
  for (;;) {
    const std::string name = (folder / message(kTemporary, ::getpid(), '-', counter++, ".tmp")).string();
    fd_ = ::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd_ < 0 && errno == EEXIST) continue;
    if (fd_ < 0) return false;
    // Locked, so that nobody takes it for a dead writer's; whoever came between has just removed it.
    temporary_ = name;
    if (lock_existing(fd_)) return true;
    ::close(std::exchange(fd_, -1));
  }
}

AtomicFile::~AtomicFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
  if (fd_ >= 0) ::close(fd_);
}

void AtomicFile::fail(const std::string& what) const { fail_with_errno(given_, what.c_str()); }

void AtomicFile::write(const void* data, size_t bytes) {
  if (in_place_)
    pending_.append(static_cast<const char*>(data), bytes);
  else
    put(static_cast<const char*>(data), bytes);
}

void AtomicFile::put(const char* data, size_t bytes) {
  while (bytes) {
    const ssize_t n = ::write(fd_, data, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(message("cannot write byte ", written_));
    data += n;
    bytes -= size_t(n);
    written_ += size_t(n);
  }
}

void AtomicFile::commit() {
  if (in_place_) {
    if (::ftruncate(fd_, 0) != 0) fail("cannot be written");
    put(pending_.data(), pending_.size());
  }
  if (::fsync(fd_) != 0 && (in_place_ || !temporary_.empty())) fail("cannot flush it to the disk");
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
  std::error_code error;
  if (!fs::is_fifo(path, error) || descriptor_of(without_links(path)) >= 0)
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

FileLock::FileLock(const fs::path& file) {
  const fs::path target = without_links(file);
  std::error_code error;
  if (fs::exists(target, error) && !fs::is_regular_file(target, error)) return;
  name_ = (folder_of(target) / message(kTemporary, "lock-", target.filename().string(), ".tmp")).string();
  while ((fd_ = ::open(name_.c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666)) >= 0) {
    if (lock_existing(fd_)) return;
    struct stat status;
    const bool held = ::fstat(fd_, &status) == 0 && status.st_nlink > 0;
    ::close(fd_);
    if (held) throw FileError(message(file.string(), ": another process is writing this file"));
  }
}

FileLock::~FileLock() {
  if (fd_ < 0) return;
  ::unlink(name_.c_str());
  ::close(fd_);
}

void occupy_standard_streams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (::fcntl(stream, F_GETFD) < 0) {
      const int null = ::open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY);  // the lowest that is free
      if (null != stream && null >= 0) ::close(null);
    }
}

void flush_standard_output() {
  const bool flushed = std::fflush(stdout) == 0;
  if (!flushed || std::ferror(stdout))
    throw FileError(
        message("standard output cannot be written", flushed ? "" : ": ", flushed ? "" : std::strerror(errno)));
}

}  // namespace mininn
