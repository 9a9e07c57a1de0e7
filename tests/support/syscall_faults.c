/* Stands between a program and the disk (LD_PRELOAD) and makes its calls on files below one directory fail.

   Read from the environment, at the start and at each call of faults_read():

     FAULTS_UNDER   the directory
     FAULTS_DO      what happens: an errno's name, short (half of a write), kill-before, kill-after, stall (the call
                    waits until the file FAULTS_GO is there, but not longer than FAULTS_STALL_MS; then it is made)
     FAULTS_AT      number of the first call that fails, counted from 1; 0: no call fails
     FAULTS_TIMES   how many calls fail from that one on; 0: all of them
     FAULTS_CALLS   names of the calls that are counted: "write,fsync"; empty: all
     FAULTS_QUOTA   bytes that the files may take together, in blocks of 4096; 0: no limit
     FAULTS_TRACE   a file elsewhere, to which every change is appended (tests/support/power_cut.py reads it)

   faults_seen() returns how many calls were counted. */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#define BLOCK 4096
#define REAL(name) static __typeof__(&name) real; if (!real) *(void **)&real = dlsym(RTLD_NEXT, #name)

static char under[PATH_MAX], calls[256], action[32];
static size_t under_length;
static long at, times, seen;
static int64_t quota;
static int trace = -1;

static long number(const char *name) {
    const char *text = getenv(name);
    return text && *text ? atol(text) : 0;
}

static void text(const char *name, char *into, size_t size) {
    const char *found = getenv(name);
    snprintf(into, size, "%s", found ? found : "");
}

__attribute__((constructor)) void faults_read(void) {
    text("FAULTS_UNDER", under, sizeof under);
    text("FAULTS_CALLS", calls, sizeof calls);
    text("FAULTS_DO", action, sizeof action);
    under_length = strlen(under);
    at = number("FAULTS_AT");
    times = getenv("FAULTS_TIMES") ? number("FAULTS_TIMES") : 1;
    quota = number("FAULTS_QUOTA");
    __atomic_store_n(&seen, 0, __ATOMIC_SEQ_CST);
    const char *path = getenv("FAULTS_TRACE");
    if (path && *path && trace < 0) {
        static int (*open_file)(const char *, int, ...);
        *(void **)&open_file = dlsym(RTLD_NEXT, "open64");
        trace = open_file(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    }
}

long faults_seen(void) { return __atomic_load_n(&seen, __ATOMIC_SEQ_CST); }

/* -- which files are meant */

static int is_under(const char *path) {
    return under_length && path && !strncmp(path, under, under_length) &&
           (path[under_length] == '/' || path[under_length] == 0);
}

static int path_of(int descriptor, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = 0;
    return is_under(path);
}

/* The path of a name that is relative to an open directory. */
static const char *path_at(int where, const char *name, char *path) {
    if (!under_length || !name || *name == '/' || where == AT_FDCWD) return name;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", where);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length <= 0) return name;
    snprintf(path + length, (size_t)(PATH_MAX - length), "/%s", name);
    return path;
}

/* -- faults */

static int error_of(const char *name) {
    static const struct { const char *name; int number; } known[] = {
        {"EIO", EIO}, {"ENOSPC", ENOSPC}, {"EDQUOT", EDQUOT}, {"EROFS", EROFS}, {"EMFILE", EMFILE}, {"EINTR", EINTR}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(known[i].name, name)) return known[i].number;
    return 0;
}

static int counts(const char *call) {
    size_t length = strlen(call);
    for (const char *found = calls; (found = strstr(found, call)); found += length)
        if ((found == calls || found[-1] == ',') && (found[length] == ',' || !found[length])) return 1;
    return !*calls;
}

enum { GO_ON, FAIL, SHORTEN, DIE_AFTER };

static int stall(void) {
    char go[PATH_MAX];
    text("FAULTS_GO", go, sizeof go);
    for (long left = number("FAULTS_STALL_MS"); left > 0 && access(go, F_OK); left--) usleep(1000);
    unlink(go);
    return GO_ON;
}

static int meet(const char *call) {
    if (!counts(call)) return GO_ON;
    long mine = __atomic_add_fetch(&seen, 1, __ATOMIC_SEQ_CST);
    if (!at || mine < at || (times && mine >= at + times)) return GO_ON;
    if (!strcmp(action, "kill-before")) kill(getpid(), SIGKILL);
    if (!strcmp(action, "kill-after")) return DIE_AFTER;
    if (!strcmp(action, "short")) return SHORTEN;
    if (!strcmp(action, "stall")) return stall();
    errno = error_of(action);
    return errno ? FAIL : GO_ON;
}

static void part(int fate) {
    if (fate == DIE_AFTER) kill(getpid(), SIGKILL);
}

/* -- quota */

static int64_t blocks(int64_t size) { return (size + BLOCK - 1) / BLOCK * BLOCK; }

static int64_t taken(const char *path) {
    int64_t total = 0;
    DIR *directory = opendir(path);
    if (!directory) return 0;
    for (struct dirent *entry; (entry = readdir(directory));) {
        char below[PATH_MAX];
        struct stat status;
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        if (snprintf(below, sizeof below, "%s/%s", path, entry->d_name) >= PATH_MAX || lstat(below, &status)) continue;
        total += S_ISDIR(status.st_mode) ? BLOCK + taken(below) : blocks(status.st_size);
    }
    closedir(directory);
    return total;
}

static int64_t left(void) {
    int64_t used = taken(under);
    return used < quota ? quota - used : 0;
}

/* How many of the bytes up to `end` fit: all, fewer, or none (then ENOSPC). */
static int64_t fitting(int descriptor, int64_t from, int64_t length) {
    struct stat status;
    if (!quota || fstat(descriptor, &status)) return length;
    int64_t have = blocks(status.st_size);
    if (blocks(from + length) <= have) return length;
    int64_t reach = have + left() / BLOCK * BLOCK;
    if (from + length <= reach) return length;
    if (reach > from) return reach - from;
    errno = ENOSPC;
    return -1;
}

/* -- trace */

struct entry {
    char op;
    char nothing[7];
    int64_t path, other, data, offset;
};

static void note(char op, const char *path, const char *other, const void *data, int64_t length, int64_t offset) {
    if (trace < 0) return;
    int error = errno;
    struct entry entry = {op, {0}, (int64_t)strlen(path), other ? (int64_t)strlen(other) : 0, length, offset};
    struct iovec parts[] = {{&entry, sizeof entry}, {(void *)path, (size_t)entry.path},
                            {(void *)other, (size_t)entry.other}, {(void *)data, (size_t)length}};
    REAL(writev);
    if (real(trace, parts, 4) < 0) abort();
    errno = error;
}

/* -- the calls */

static int opened(int descriptor, int flags, const char *path, int fate) {
    if (descriptor >= 0 && flags & (O_CREAT | O_TRUNC)) note('O', path, NULL, NULL, 0, flags & O_TRUNC ? 1 : 0);
    part(fate);
    return descriptor;
}

#define OPEN(name)                                                                          \
    int name(const char *path, int flags, ...) {                                            \
        REAL(name);                                                                         \
        va_list rest;                                                                       \
        va_start(rest, flags);                                                              \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;             \
        va_end(rest);                                                                       \
        if (!is_under(path) || flags & O_PATH) return real(path, flags, mode);              \
        int fate = meet("open");                                                            \
        return fate == FAIL ? -1 : opened(real(path, flags, mode), flags, path, fate);      \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                        \
    int name(int where, const char *path, int flags, ...) {                                 \
        REAL(name);                                                                         \
        va_list rest;                                                                       \
        va_start(rest, flags);                                                              \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;             \
        va_end(rest);                                                                       \
        char full[PATH_MAX];                                                                \
        const char *meant = path_at(where, path, full);                                     \
        if (!is_under(meant) || flags & O_PATH) return real(where, path, flags, mode);      \
        int fate = meet("open");                                                            \
        return fate == FAIL ? -1 : opened(real(where, path, flags, mode), flags, meant, fate); \
    }
OPENAT(openat)
OPENAT(openat64)

/* Counted only if `calls` names it. */
int fstat64(int descriptor, struct stat64 *status) {
    REAL(fstat64);
    char path[PATH_MAX];
    if (!under_length || !*calls || !counts("fstat") || !path_of(descriptor, path)) return real(descriptor, status);
    return meet("fstat") == FAIL ? -1 : real(descriptor, status);
}

ssize_t write(int descriptor, const void *data, size_t length) {
    REAL(write);
    char path[PATH_MAX];
    if (!under_length || !path_of(descriptor, path)) return real(descriptor, data, length);
    int fate = meet("write");
    if (fate == FAIL) return -1;
    if (fate == SHORTEN) length /= 2;
    struct stat status;
    if (quota && !fstat(descriptor, &status)) {
        int append = fcntl(descriptor, F_GETFL) & O_APPEND;
        int64_t fits = fitting(descriptor, append ? status.st_size : lseek(descriptor, 0, SEEK_CUR), (int64_t)length);
        if (fits < 0) return -1;
        length = (size_t)fits;
    }
    ssize_t written = real(descriptor, data, length);
    if (written > 0) note('W', path, NULL, data, written, lseek(descriptor, 0, SEEK_CUR) - written);
    part(fate);
    return written;
}

#define PWRITE(name, type)                                                                  \
    ssize_t name(int descriptor, const void *data, size_t length, type offset) {            \
        REAL(name);                                                                         \
        char path[PATH_MAX];                                                                \
        if (!under_length || !path_of(descriptor, path)) return real(descriptor, data, length, offset); \
        int fate = meet("write");                                                           \
        if (fate == FAIL) return -1;                                                        \
        if (fate == SHORTEN) length /= 2;                                                   \
        int64_t fits = fitting(descriptor, offset, (int64_t)length);                        \
        if (fits < 0) return -1;                                                            \
        ssize_t written = real(descriptor, data, (size_t)fits, offset);                     \
        if (written > 0) note('W', path, NULL, data, written, offset);                      \
        part(fate);                                                                         \
        return written;                                                                     \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t read(int descriptor, void *data, size_t length) {
    REAL(read);
    char path[PATH_MAX];
    if (!under_length || !path_of(descriptor, path)) return real(descriptor, data, length);
    return meet("read") == FAIL ? -1 : real(descriptor, data, length);
}

#define PREAD(name, type)                                                                   \
    ssize_t name(int descriptor, void *data, size_t length, type offset) {                  \
        REAL(name);                                                                         \
        char path[PATH_MAX];                                                                \
        if (!under_length || !path_of(descriptor, path)) return real(descriptor, data, length, offset); \
        return meet("read") == FAIL ? -1 : real(descriptor, data, length, offset);          \
    }
PREAD(pread, off_t)
PREAD(pread64, off64_t)

ssize_t writev(int descriptor, const struct iovec *parts, int count) {
    REAL(writev);
    char path[PATH_MAX];
    if (!under_length || !path_of(descriptor, path)) return real(descriptor, parts, count);
    ssize_t total = 0;
    for (int i = 0; i < count; i++) {
        ssize_t written = write(descriptor, parts[i].iov_base, parts[i].iov_len);
        if (written < 0) return total ? total : -1;
        total += written;
        if ((size_t)written < parts[i].iov_len) break;
    }
    return total;
}

#define SYNC(name)                                                                          \
    int name(int descriptor) {                                                              \
        REAL(name);                                                                         \
        char path[PATH_MAX];                                                                \
        if (!under_length || !path_of(descriptor, path)) return real(descriptor);           \
        int fate = meet("fsync");                                                           \
        if (fate == FAIL) return -1;                                                        \
        int result = trace < 0 ? real(descriptor) : 0;                                      \
        if (!result) note('S', path, NULL, NULL, 0, 0);                                     \
        part(fate);                                                                         \
        return result;                                                                      \
    }
SYNC(fsync)
SYNC(fdatasync)

#define TWO(name, call, op, arguments, passed, from_at, to_at)                              \
    int name arguments {                                                                    \
        REAL(name);                                                                         \
        char from_path[PATH_MAX], to_path[PATH_MAX];                                        \
        const char *meant_from = path_at(from_at, from, from_path);                         \
        const char *meant_to = path_at(to_at, to, to_path);                                 \
        if (!is_under(meant_from) && !is_under(meant_to)) return real passed;               \
        int fate = meet(call);                                                              \
        if (fate == FAIL) return -1;                                                        \
        int result = real passed;                                                           \
        if (!result) note(op, meant_from, meant_to, NULL, 0, 0);                            \
        part(fate);                                                                         \
        return result;                                                                      \
    }
TWO(rename, "rename", 'R', (const char *from, const char *to), (from, to), AT_FDCWD, AT_FDCWD)
TWO(renameat, "rename", 'R', (int a, const char *from, int b, const char *to), (a, from, b, to), a, b)
TWO(link, "link", 'L', (const char *from, const char *to), (from, to), AT_FDCWD, AT_FDCWD)
TWO(linkat, "link", 'L', (int a, const char *from, int b, const char *to, int flags), (a, from, b, to, flags), a, b)

#define ONE(name, call, op, arguments, passed, where)                                       \
    int name arguments {                                                                    \
        REAL(name);                                                                         \
        char full[PATH_MAX];                                                                \
        const char *meant = path_at(where, path, full);                                     \
        if (!is_under(meant)) return real passed;                                           \
        int fate = meet(call);                                                              \
        if (fate == FAIL) return -1;                                                        \
        int result = real passed;                                                           \
        if (!result) note(op, meant, NULL, NULL, 0, 0);                                     \
        part(fate);                                                                         \
        return result;                                                                      \
    }
ONE(unlink, "unlink", 'U', (const char *path), (path), AT_FDCWD)
ONE(unlinkat, "unlink", 'U', (int at, const char *path, int flags), (at, path, flags), at)
ONE(mkdir, "mkdir", 'M', (const char *path, mode_t mode), (path, mode), AT_FDCWD)
ONE(mkdirat, "mkdir", 'M', (int at, const char *path, mode_t mode), (at, path, mode), at)

#define TRUNCATE(name, type)                                                                \
    int name(int descriptor, type length) {                                                 \
        REAL(name);                                                                         \
        char path[PATH_MAX];                                                                \
        if (!under_length || !path_of(descriptor, path)) return real(descriptor, length);   \
        int fate = meet("ftruncate");                                                       \
        if (fate == FAIL) return -1;                                                        \
        int result = real(descriptor, length);                                              \
        if (!result) note('T', path, NULL, NULL, 0, length);                                \
        part(fate);                                                                         \
        return result;                                                                      \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

#define FALLOCATE(name, type)                                                               \
    int name(int descriptor, type offset, type length) {                                    \
        REAL(name);                                                                         \
        char path[PATH_MAX];                                                                \
        if (!under_length || !path_of(descriptor, path)) return real(descriptor, offset, length); \
        if (fitting(descriptor, offset, length) < length) return ENOSPC;                    \
        int result = real(descriptor, offset, length);                                      \
        if (!result) note('T', path, NULL, NULL, 0, offset + length);                       \
        return result;                                                                      \
    }
FALLOCATE(posix_fallocate, off_t)
FALLOCATE(posix_fallocate64, off64_t)

#define STATVFS(name, type)                                                                 \
    int name(const char *path, struct type *status) {                                       \
        REAL(name);                                                                         \
        int result = real(path, status);                                                    \
        if (!result && quota && is_under(path))                                             \
            status->f_bavail = status->f_bfree = (fsblkcnt_t)left() / status->f_frsize,     \
            status->f_blocks = (fsblkcnt_t)quota / status->f_frsize;                        \
        return result;                                                                      \
    }
STATVFS(statvfs, statvfs)
STATVFS(statvfs64, statvfs64)
