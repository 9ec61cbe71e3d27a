/* Keeps a journal of what a process has made durable, so that a power loss can be computed after a kill.
 *
 * Loaded by LD_PRELOAD. Environment:
 *   POWERLOSS_LOG   the journal, opened for appending
 *   POWERLOSS_DIR   only files below this folder count
 *   POWERLOSS_SIDE  a folder on the same file system: replaced and removed files are linked there,
 *                   and overwritten bytes are kept in its file "undo"
 *
 * One line a record, fields separated by tabs (xtask/src/torture/journal.rs reads them):
 *   create ID PATH | mkdir ID PATH | link ID PATH | rename ID FROM TO BACKUP | unlink ID PATH BACKUP | rmdir ID PATH
 *   done ID INODE | fail ID   outcome of one of the above (INODE of a created file, else 0); neither: the process died in it
 *   sync LENGTH INODE PATH    the file was synced when it had this length
 *   syncdir PATH
 *   over OFFSET LENGTH AT INODE PATH   these bytes are about to change or go; the old ones stand at AT in "undo"
 *   odd WHAT PATH             something that this shim can't follow
 *
 * Raw system calls that bypass libc are not seen.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static int log_fd = -1, undo_fd = -1;
static char root[PATH_MAX], side[PATH_MAX];
static size_t root_len;
static atomic_ulong next_id = 1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static off_t undo_at;

/* Length at the last sync, by inode: writes below it need an undo record. */
#define SLOTS 65536
static struct { dev_t dev; ino_t ino; off_t synced; } slots[SLOTS];

#define REAL(type, name, ...)                                   \
  static type (*real)(__VA_ARGS__);                             \
  if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

__attribute__((constructor)) static void start(void) {
  const char *log = getenv("POWERLOSS_LOG"), *dir = getenv("POWERLOSS_DIR"), *keep = getenv("POWERLOSS_SIDE");
  if (!log || !dir || !keep) return;
  char undo[PATH_MAX];
  snprintf(root, sizeof root, "%s", dir);
  snprintf(side, sizeof side, "%s", keep);
  snprintf(undo, sizeof undo, "%.*s/undo", PATH_MAX - 8, keep);
  root_len = strlen(root);
  undo_fd = syscall(SYS_openat, AT_FDCWD, undo, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  undo_at = lseek(undo_fd, 0, SEEK_END);
  log_fd = syscall(SYS_openat, AT_FDCWD, log, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
  atomic_store(&next_id, (unsigned long)getpid() << 32 | 1);
}

static int ours(const char *path) {
  return log_fd >= 0 && !strncmp(path, root, root_len) && (path[root_len] == '/' || !path[root_len]);
}

/* One write call a record, so that records of several threads don't mix. */
static void say(const char *format, ...) {
  char line[3 * PATH_MAX];
  va_list args;
  va_start(args, format);
  int n = vsnprintf(line, sizeof line, format, args);
  va_end(args);
  int saved = errno;
  if (n > 0 && n < (int)sizeof line) (void)!syscall(SYS_write, log_fd, line, n);
  errno = saved;
}

/* Absolute path of what a descriptor or (descriptor, name) means; 0 if it is none of ours. */
static int of_fd(int fd, char *out) {
  if (log_fd < 0) return 0;
  char link[64];
  int saved = errno;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = syscall(SYS_readlink, link, out, PATH_MAX - 1);
  errno = saved;
  if (n <= 0) return 0;
  out[n] = 0;
  return ours(out) && !strstr(out, " (deleted)");
}

static int of_name(int dir, const char *name, char *out) {
  if (log_fd < 0 || !name) return 0;
  if (name[0] == '/') {
    snprintf(out, PATH_MAX, "%s", name);
  } else {
    char base[PATH_MAX];
    int saved = errno;
    if (dir == AT_FDCWD) {
      if (syscall(SYS_getcwd, base, sizeof base) <= 0) base[0] = 0;
    } else if (!of_fd(dir, base)) {
      errno = saved;
      return 0;
    }
    errno = saved;
    if (snprintf(out, PATH_MAX, "%s/%s", base, name) >= PATH_MAX) return 0;
  }
  return ours(out);
}

static off_t *slot(const struct stat *st) {
  size_t at = ((size_t)st->st_ino * 0x9e3779b97f4a7c15ULL >> 40) % SLOTS;
  for (size_t i = 0; i < SLOTS; i++, at = (at + 1) % SLOTS) {
    if (slots[at].ino == st->st_ino && slots[at].dev == st->st_dev) return &slots[at].synced;
    if (!slots[at].ino) {
      slots[at].ino = st->st_ino, slots[at].dev = st->st_dev;
      slots[at].synced = -1;
      return &slots[at].synced;
    }
  }
  abort();
}

/* Inode numbers are used again: a new file begins unsynced, an existing one is taken as synced as it is. */
static void opened(int fd, int is_new) {
  struct stat st;
  if (fstat(fd, &st) || !S_ISREG(st.st_mode)) return;
  pthread_mutex_lock(&lock);
  off_t *synced = slot(&st);
  if (is_new) *synced = 0;
  else if (*synced < 0) *synced = st.st_size;
  pthread_mutex_unlock(&lock);
}

/* Keeps the bytes [from, to) of a file as far as they were synced. */
static void keep_old(int fd, off_t from, off_t to) {
  struct stat st;
  char path[PATH_MAX];
  if (!of_fd(fd, path) || fstat(fd, &st) || !S_ISREG(st.st_mode)) return;
  int saved = errno;
  pthread_mutex_lock(&lock);
  off_t *synced = slot(&st);
  if (*synced < 0) *synced = st.st_size;
  if (to > *synced) to = *synced;
  if (from < to) {
    char file[64], buffer[65536];
    snprintf(file, sizeof file, "/proc/self/fd/%d", fd);
    int in = syscall(SYS_openat, AT_FDCWD, file, O_RDONLY | O_CLOEXEC, 0);
    off_t at = undo_at, place = from;
    while (in >= 0 && place < to) {
      size_t want = (size_t)(to - place) < sizeof buffer ? (size_t)(to - place) : sizeof buffer;
      ssize_t got = syscall(SYS_pread64, in, buffer, want, place);
      if (got <= 0 || syscall(SYS_pwrite64, undo_fd, buffer, got, undo_at) != got) break;
      place += got, undo_at += got;
    }
    if (in >= 0) syscall(SYS_close, in);
    if (undo_at > at) 
      say("over\t%lld\t%lld\t%lld\t%lu\t%s\n", (long long)from, (long long)(undo_at - at), (long long)at,
          (unsigned long)st.st_ino, path);
  }
  pthread_mutex_unlock(&lock);
  errno = saved;
}

static unsigned long id(void) { return atomic_fetch_add(&next_id, 1); }
static int outcome(unsigned long n, int result) {
  if (result < 0) say("fail\t%lu\n", n);
  else say("done\t%lu\t0\n", n);
  return result;
}
static void created(unsigned long n, int fd) {
  struct stat st;
  if (fd < 0 || fstat(fd, &st)) say("fail\t%lu\n", n);
  else say("done\t%lu\t%lu\n", n, (unsigned long)st.st_ino);
}

/* A second name in the side folder for a file that is about to lose its own; "-" if there is none. */
static void back_up(const char *path, unsigned long n, char *out) {
  int saved = errno;
  snprintf(out, PATH_MAX, "%.*s/%lu", PATH_MAX - 32, side, n);
  if (syscall(SYS_linkat, AT_FDCWD, path, AT_FDCWD, out, 0)) strcpy(out, "-");
  errno = saved;
}

/* ---- syncs ---- */

static int synced(int fd, int (*real)(int)) {
  char path[PATH_MAX];
  struct stat st;
  /* the length before the call: what is appended meanwhile is not covered by it */
  int mine = of_fd(fd, path) && !fstat(fd, &st);
  int result = real(fd);
  if (mine && result == 0) {
    if (S_ISDIR(st.st_mode)) {
      say("syncdir\t%s\n", path);
    } else {
      pthread_mutex_lock(&lock);
      *slot(&st) = st.st_size;
      say("sync\t%lld\t%lu\t%s\n", (long long)st.st_size, (unsigned long)st.st_ino, path);
      pthread_mutex_unlock(&lock);
    }
  }
  return result;
}
int fsync(int fd) { REAL(int, "fsync", int); return synced(fd, real); }
int fdatasync(int fd) { REAL(int, "fdatasync", int); return synced(fd, real); }
int sync_file_range(int fd, off64_t at, off64_t n, unsigned flags) {
  REAL(int, "sync_file_range", int, off64_t, off64_t, unsigned);
  char path[PATH_MAX];
  if (of_fd(fd, path)) say("odd\tsync_file_range\t%s\n", path);
  return real(fd, at, n, flags);
}
int syncfs(int fd) {
  REAL(int, "syncfs", int);
  if (log_fd >= 0) say("odd\tsyncfs\t-\n");
  return real(fd);
}

/* ---- names ---- */

static int open_any(int dir, const char *name, int flags, mode_t mode) {
  char path[PATH_MAX];
  struct stat st;
  int saved = errno;
  if ((flags & O_TMPFILE) == O_TMPFILE || !of_name(dir, name, path))
    return syscall(SYS_openat, dir, name, flags, mode);
  int is_new = fstatat(dir, name, &st, 0) != 0;
  errno = saved;
  if (!is_new && (flags & O_TRUNC) && st.st_size > 0) {
    int fd = syscall(SYS_openat, dir, name, O_RDONLY | O_CLOEXEC, 0);
    if (fd >= 0) keep_old(fd, 0, st.st_size), syscall(SYS_close, fd);
    errno = saved;
  }
  unsigned long n = is_new && (flags & O_CREAT) ? id() : 0;
  if (n) say("create\t%lu\t%s\n", n, path);
  int fd = syscall(SYS_openat, dir, name, flags, mode);
  if (n) created(n, fd);
  if (fd >= 0) opened(fd, n != 0);
  return fd;
}
#define MODE                                        \
  mode_t mode = 0;                                  \
  if (flags & (O_CREAT | O_TMPFILE)) {              \
    va_list args;                                   \
    va_start(args, flags);                          \
    mode = va_arg(args, mode_t);                    \
    va_end(args);                                   \
  }
int open(const char *name, int flags, ...) { MODE; return open_any(AT_FDCWD, name, flags, mode); }
int open64(const char *name, int flags, ...) { MODE; return open_any(AT_FDCWD, name, flags | O_LARGEFILE, mode); }
int openat(int dir, const char *name, int flags, ...) { MODE; return open_any(dir, name, flags, mode); }
int openat64(int dir, const char *name, int flags, ...) { MODE; return open_any(dir, name, flags | O_LARGEFILE, mode); }
int creat(const char *name, mode_t mode) { return open_any(AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode); }

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
  char a[PATH_MAX], b[PATH_MAX], kept[PATH_MAX];
  if (!of_name(from_dir, from, a) || !of_name(to_dir, to, b))
    return syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
  unsigned long n = id();
  if (flags & ~1u) say("odd\trenameat2\t%s\n", a);
  back_up(b, n, kept);
  say("rename\t%lu\t%s\t%s\t%s\n", n, a, b, kept);
  return outcome(n, syscall(SYS_renameat2, from_dir, from, to_dir, to, flags));
}
int renameat(int from_dir, const char *from, int to_dir, const char *to) {
  return renameat2(from_dir, from, to_dir, to, 0);
}
int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }

int unlinkat(int dir, const char *name, int flags) {
  char path[PATH_MAX], kept[PATH_MAX];
  if (!of_name(dir, name, path)) return syscall(SYS_unlinkat, dir, name, flags);
  unsigned long n = id();
  if (flags & AT_REMOVEDIR) {
    say("rmdir\t%lu\t%s\n", n, path);
  } else {
    back_up(path, n, kept);
    say("unlink\t%lu\t%s\t%s\n", n, path, kept);
  }
  return outcome(n, syscall(SYS_unlinkat, dir, name, flags));
}
int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }
int rmdir(const char *name) { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }

int mkdirat(int dir, const char *name, mode_t mode) {
  char path[PATH_MAX];
  if (!of_name(dir, name, path)) return syscall(SYS_mkdirat, dir, name, mode);
  unsigned long n = id();
  say("mkdir\t%lu\t%s\n", n, path);
  return outcome(n, syscall(SYS_mkdirat, dir, name, mode));
}
int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags) {
  char a[PATH_MAX], b[PATH_MAX];
  if (!of_name(from_dir, from, a) || !of_name(to_dir, to, b))
    return syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
  unsigned long n = id();
  say("link\t%lu\t%s\t%s\n", n, a, b);
  return outcome(n, syscall(SYS_linkat, from_dir, from, to_dir, to, flags));
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

/* ---- contents ---- */

int ftruncate(int fd, off_t length) {
  if (log_fd >= 0) keep_old(fd, length, LLONG_MAX);
  return syscall(SYS_ftruncate, fd, length);
}
int ftruncate64(int fd, off64_t length) { return ftruncate(fd, length); }

ssize_t write(int fd, const void *data, size_t n) {
  /* files only: sockets and pipes have no place */
  if (log_fd >= 0 && n) {
    int saved = errno;
    off_t at = lseek(fd, 0, SEEK_CUR);
    if (at >= 0 && !(fcntl(fd, F_GETFL) & O_APPEND)) keep_old(fd, at, at + (off_t)n);
    errno = saved;
  }
  REAL(ssize_t, "write", int, const void *, size_t);
  return real(fd, data, n);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
  if (log_fd >= 0) {
    int saved = errno;
    off_t at = lseek(fd, 0, SEEK_CUR), n = 0;
    for (int i = 0; i < count; i++) n += (off_t)parts[i].iov_len;
    if (at >= 0 && !(fcntl(fd, F_GETFL) & O_APPEND)) keep_old(fd, at, at + n);
    errno = saved;
  }
  REAL(ssize_t, "writev", int, const struct iovec *, int);
  return real(fd, parts, count);
}
ssize_t pwrite(int fd, const void *data, size_t n, off_t at) {
  if (log_fd >= 0) keep_old(fd, at, at + (off_t)n);
  return syscall(SYS_pwrite64, fd, data, n, at);
}
ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at) { return pwrite(fd, data, n, at); }

void *mmap(void *addr, size_t n, int prot, int flags, int fd, off_t at) {
  char path[PATH_MAX];
  if (fd >= 0 && (prot & PROT_WRITE) && (flags & MAP_SHARED) && of_fd(fd, path)) say("odd\tmmap\t%s\n", path);
  return (void *)syscall(SYS_mmap, addr, n, prot, flags, fd, at);
}
void *mmap64(void *addr, size_t n, int prot, int flags, int fd, off64_t at) { return mmap(addr, n, prot, flags, fd, at); }
