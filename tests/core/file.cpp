#include "core/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <thread>

#include "core/error.h"
#include "tests/support/catch.h"
#include "tests/support/files.h"
#include "tests/support/fork.h"

using namespace mininn;
using namespace mininn::testing;
namespace fs = std::filesystem;

namespace {

void write_whole(const fs::path& path, const std::string& text) {
  AtomicFile file(path);
  file.write(text.data(), text.size());
  file.commit();
}

size_t files_in(const fs::path& folder) {
  return size_t(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

struct stat status_of(const fs::path& path) {
  struct stat status {};
  ::stat(path.c_str(), &status);
  return status;
}

unsigned permissions(const fs::path& path) { return unsigned(fs::status(path).permissions()); }

}  // namespace

TEST_CASE("only regular files are opened, without waiting") {
  const TempFolder folder;
  write_file(folder / "f", "bytes");
  fs::create_symlink("f", folder / "link");
  CHECK(read_all(open_regular_file(folder / "link").get()) == "bytes");
  CHECK(read_all(open_regular_file(folder / "f").get(), 3) == "byt");
  REQUIRE(::mkfifo((folder / "fifo").c_str(), 0600) == 0);
  CHECK_THROWS_WITH(open_regular_file(folder / "fifo"), Catch::Contains("fifo: is not a regular file"));
  CHECK_THROWS_WITH(open_regular_file(folder.path), Catch::Contains("is not a regular file"));
  CHECK_THROWS_WITH(open_regular_file("/dev/zero"), Catch::Contains("is not a regular file"));
  CHECK_THROWS_WITH(open_regular_file(folder / "none"), Catch::Contains("none: cannot be opened: No such file"));
  CHECK(read_file(folder / "fifo").empty());
}

TEST_CASE("an atomic file is there whole or not at all") {
  const TempFolder folder;
  write_whole(folder / "f", "old");
  {
    AtomicFile file(folder / "f");
    file.write("new", 3);
    CHECK(read_file(folder / "f") == "old");
  }
  CHECK(read_file(folder / "f") == "old");
  write_whole(folder / "f", "new");
  CHECK(read_file(folder / "f") == "new");
  CHECK(files_in(folder.path) == 1);
  CHECK_THROWS_WITH(write_whole(folder / "none" / "f", "x"),
                    Catch::Contains("none/f: cannot be written: No such file"));
  CHECK_THROWS_WITH(write_whole(folder.path, "x"), Catch::Contains("Is a directory"));
}

TEST_CASE("an atomic file follows links and keeps permissions") {
  const TempFolder folder;
  fs::create_directory(folder / "sub");
  write_file(folder / "sub/target", "old");
  fs::permissions(folder / "sub/target", fs::perms(0640));
  fs::create_symlink("target", folder / "sub/near");
  fs::create_symlink("sub/near", folder / "far");
  write_whole(folder / "far", "new");
  CHECK(fs::is_symlink(folder / "far"));
  CHECK(fs::is_symlink(folder / "sub/near"));
  CHECK(read_file(folder / "sub/target") == "new");
  CHECK(permissions(folder / "sub/target") == 0640);
  fs::create_symlink("sub/later", folder / "dangling");
  write_whole(folder / "dangling", "new");
  CHECK(fs::is_symlink(folder / "dangling"));
  CHECK(read_file(folder / "sub/later") == "new");
}

TEST_CASE("what is no regular file is written to, not replaced") {
  const TempFolder folder;
  REQUIRE(::mkfifo((folder / "fifo").c_str(), 0600) == 0);
  CHECK_THROWS_WITH(write_whole(folder / "fifo", "x"), Catch::Contains("fifo: cannot be written"));  // nobody reads
  const int reader = ::open((folder / "fifo").c_str(), O_RDONLY | O_NONBLOCK);
  REQUIRE(reader >= 0);
  write_whole(folder / "fifo", "text");
  char text[8];
  CHECK(::read(reader, text, sizeof text) == 4);
  ::close(reader);
  CHECK(fs::is_fifo(folder / "fifo"));
  fs::create_symlink("/dev/full", folder / "full");
  CHECK_THROWS_WITH(write_whole(folder / "full", "x"), Catch::Contains("No space left"));
  write_whole("/dev/null", "x");
  CHECK(fs::is_character_file("/dev/null"));
}

TEST_CASE("writing to a process's own output goes between what it prints") {
  const TempFolder folder;
  const pid_t child = ::fork();
  if (child == 0) {
    if (!std::freopen((folder / "out").c_str(), "w", stdout)) ::_exit(1);
    std::printf("before ");
    write_whole("/dev/stdout", "text");
    std::printf(" after");
    std::fflush(stdout);
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK(read_file(folder / "out") == "before text after");
}

TEST_CASE("what stands for an open file is written through it") {
  const TempFolder folder;
  write_file(folder / "f", "old text that is longer");
  const auto inode = status_of(folder / "f").st_ino;
  const int fd = ::open((folder / "f").c_str(), O_WRONLY | O_TRUNC);
  REQUIRE(fd >= 0);
  const std::string number = std::to_string(fd);
  fs::create_symlink("/dev/fd/" + number, folder / "link");
  CHECK(::write(fd, "a", 1) == 1);
  for (const fs::path& path :
       {fs::path("/dev/fd/" + number), fs::path("/proc/self/fd/" + number), fs::path("/proc/thread-self/fd/" + number),
        fs::path(message("/proc/", ::getpid(), "/fd/", number)), folder / "link"}) {
    require_writable(path);
    write_whole(path, "b");
  }
  CHECK(::write(fd, "c", 1) == 1);
  ::close(fd);
  CHECK(read_file(folder / "f") == "abbbbbc");
  CHECK(status_of(folder / "f").st_ino == inode);
  CHECK(files_in(folder.path) == 2);
  CHECK_THROWS_WITH(require_writable(folder / "link"), Catch::Contains("link: cannot be written: Bad file descriptor"));

  const int reading = ::open((folder / "f").c_str(), O_RDONLY);
  CHECK_THROWS_WITH(require_writable("/dev/fd/" + std::to_string(reading)), Catch::Contains("Bad file descriptor"));
  ::close(reading);
  CHECK(read_file(folder / "f") == "abbbbbc");
  write_whole(folder / "3", "a name like a descriptor's");
  CHECK(read_file(folder / "3").starts_with("a name"));
}

TEST_CASE("a pipe that stands behind a descriptor is not closed by looking at it") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const fs::path path = "/dev/fd/" + std::to_string(ends[1]);
  require_writable(path);
  write_whole(path, "text");
  char text[8];
  CHECK(::read(ends[0], text, sizeof text) == 4);
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_CASE("a file that may be written is, even if its folder may not") {
  const TempFolder folder;
  fs::permissions(folder.path, fs::perms(0755));
  fs::create_directory(folder / "closed");
  write_file(folder / "closed/f", "old text that is longer");
  fs::permissions(folder / "closed/f", fs::perms(0666));
  fs::permissions(folder / "closed", fs::perms(0555));
  const auto result = as_nobody([&] {
    require_writable(folder / "closed/f");
    AtomicFile(folder / "closed/f").write("no", 2);  // not committed
    if (read_file(folder / "closed/f") != "old text that is longer") return 1;
    write_whole(folder / "closed/f", "new");
    if (read_file(folder / "closed/f") != "new") return 2;
    try {
      require_writable(folder / "closed/g");
      return 3;
    } catch (const FileError&) {
      return 0;
    }
  });
  fs::permissions(folder / "closed", fs::perms(0755));
  if (!result) WARN("this root cannot become another user");
  CHECK(result.value_or(0) == 0);
}

TEST_CASE("a file keeps its owner and group") {
  const TempFolder folder;
  fs::permissions(folder.path, fs::perms(0777));
  const auto write_own = [&] {
    write_whole(folder / "f", "old");
    write_whole(folder / "f", "new");
    return read_file(folder / "f") == "new" && files_in(folder.path) == 1 ? 0 : 1;
  };
  const auto result = as_nobody(write_own);
  if (!result || ::geteuid() != 0) {
    WARN("only root can give files to others");
    return;
  }
  CHECK(*result == 0);
  const auto nobody = status_of(folder / "f");
  CHECK(nobody.st_uid == kNobody);
  fs::permissions(folder / "f", fs::perms(0640));
  write_whole(folder / "f", "by root");
  CHECK(status_of(folder / "f").st_uid == kNobody);
  CHECK(status_of(folder / "f").st_gid == kNobody);
  CHECK(permissions(folder / "f") == 0640);
  CHECK(status_of(folder / "f").st_ino != nobody.st_ino);

  REQUIRE(::chown((folder / "f").c_str(), 0, 0) == 0);
  fs::permissions(folder / "f", fs::perms(0666));
  CHECK(as_nobody([&] {
          write_whole(folder / "f", "by nobody");
          return 0;
        }) == 0);
  CHECK(read_file(folder / "f") == "by nobody");
  CHECK(status_of(folder / "f").st_uid == 0);
  CHECK(files_in(folder.path) == 1);
}

TEST_CASE("temporary files of dead writers go, those of living ones stay") {
  const TempFolder folder;
  write_file(folder / ".mininn-1-0.tmp", "left behind");
  AtomicFile first(folder / "f"), second(folder / "f");
  CHECK(files_in(folder.path) == 2);
  first.write("1", 1);
  second.write("2", 1);
  second.commit();
  first.commit();
  CHECK(read_file(folder / "f") == "1");
  CHECK(files_in(folder.path) == 1);
}

TEST_CASE("many writers of one file do not disturb each other") {
  const TempFolder folder;
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 10; ++i) try {
          write_whole(folder / "f", std::string(1000, char('a' + t)));
        } catch (const FileError&) {
          ++failures;
        }
    });
  for (auto& t : threads) t.join();
  CHECK(failures == 0);
  const std::string text = read_file(folder / "f");
  CHECK(text == std::string(1000, text.at(0)));
  CHECK(files_in(folder.path) == 1);
}

TEST_CASE("what could not be written is known before") {
  const TempFolder folder;
  write_file(folder / "f", "old");
  for (const auto& path : {folder / "f", folder / "new", fs::path("/dev/null")}) CHECK_NOTHROW(require_writable(path));
  CHECK(files_in(folder.path) == 1);
  CHECK(read_file(folder / "f") == "old");
  CHECK_THROWS_AS(require_writable(folder / "none" / "f"), FileError);
  CHECK_THROWS_AS(require_writable(folder.path), FileError);
  CHECK_THROWS_AS(require_writable(folder / "f" / "g"), FileError);
}

TEST_CASE("a folder belongs to one process at a time") {
  const TempFolder folder;
  {
    const FolderLock lock(folder / "a");
    CHECK_THROWS_WITH(FolderLock(folder / "a"), Catch::Contains("another process"));
    CHECK_NOTHROW(FolderLock(folder / "b"));
  }
  CHECK_NOTHROW(FolderLock(folder / "a"));
  CHECK(files_in(folder / "a") == 0);
  write_file(folder / "f", "");
  CHECK_THROWS_WITH(FolderLock(folder / "f"), Catch::Contains("f: the folder cannot be"));
  CHECK_THROWS_WITH(FolderLock(folder / "f" / "g"), Catch::Contains("the folder cannot be made"));
}

TEST_CASE("a file belongs to one process at a time, whatever it is called") {
  const TempFolder folder;
  fs::create_symlink("f", folder / "link");
  {
    const FileLock lock(folder / "link");
    CHECK_THROWS_WITH(FileLock(folder / "f"), Catch::Contains("f: another process is writing this file"));
    CHECK_NOTHROW(FileLock(folder / "g"));
    write_whole(folder / "f", "new");  // leaves the lock alone
    CHECK_THROWS_AS(FileLock(folder / "f"), FileError);
  }
  CHECK(files_in(folder.path) == 2);
  in_forked_child([&] {
    new FileLock(folder / "f");  // what a killed process leaves
    return 0;
  });
  CHECK(files_in(folder.path) == 3);
  CHECK_NOTHROW(FileLock(folder / "f"));
  CHECK(files_in(folder.path) == 2);
  in_forked_child([&] {
    new FileLock(folder / "f");
    return 0;
  });
  write_whole(folder / "f", "new");
  CHECK(files_in(folder.path) == 2);
  const FileLock first("/dev/null");
  CHECK_NOTHROW(FileLock("/dev/null"));
  CHECK_NOTHROW(FileLock(folder / "none" / "f"));
}

TEST_CASE("a program with a closed standard output does not print into its files") {
  const TempFolder folder;
  const int result = in_forked_child([&] {
    ::close(STDOUT_FILENO);
    occupy_standard_streams();
    AtomicFile file(folder / "f");
    file.write("text", 4);
    std::printf("print");
    try {
      flush_standard_output();
      return 1;
    } catch (const FileError& e) {
      if (std::string(e.what()) != "standard output cannot be written: Bad file descriptor") return 2;
    }
    file.commit();
    return 0;
  });
  CHECK(result == 0);
  CHECK(read_file(folder / "f") == "text");
}
