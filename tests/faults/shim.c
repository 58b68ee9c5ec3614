/* Counts what a process does to files below one folder, and breaks the n-th of it.

   Preloaded, so that the writes of C++ (pyarrow) and Rust (deltalake) count as those of Python do.
   Calls count from 1, once faults_arm was called; forked processes inherit the count as it stands.

   mode 0: only count, and log
   mode 1: kill the process (SIGKILL) before the n-th call
   mode 2: kill the process in the middle of the n-th call, if it writes; before it otherwise
   mode 3: the n-th call fails with an errno, once
   mode 4: the n-th call and all writing ones after it fail with an errno, as on a full disk      */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char root[PATH_MAX];
static size_t root_length;
static int mode = -1, code, log_to = -1;
static long wanted, count;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static ssize_t (*real_write)(int, const void *, size_t);

/* Starts counting below a folder (absolute, no links in it). The log gets a line a call, or -1. */
void faults_arm(const char *folder, int how, long n, int error, int log)
{
    strncpy(root, folder, sizeof root - 1);
    root_length = strlen(root);
    wanted = n, code = error, log_to = log, count = 0;
    mode = how;
}

long faults_count(void) { return count; }

static int below(const char *path)
{
    return strncmp(path, root, root_length) == 0
        && (path[root_length] == '/' || path[root_length] == '\0');
}

static int resolve(int folder, const char *path, char *out)
{
    char link[64];
    ssize_t length = 0;
    if (path && path[0] == '/') {
        strncpy(out, path, PATH_MAX - 1);
        out[PATH_MAX - 1] = '\0';
        return 1;
    }
    if (path && folder == AT_FDCWD)
        return 0; /* nothing of ours goes by the current folder */
    snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    length = readlink(link, out, PATH_MAX - 1);
    if (length <= 0)
        return 0;
    out[length] = '\0';
    if (path && path[0]) {
        strncat(out, "/", PATH_MAX - strlen(out) - 1);
        strncat(out, path, PATH_MAX - strlen(out) - 1);
    }
    return 1;
}

/* Returns 0: go on; 1: fail with `code`; 2: tear. Kills by itself. A call writes (1), or writes data
   that can be torn (2), or does neither (0). */
static int meet(const char *call, int folder, const char *path, int writes)
{
    char full[PATH_MAX], line[PATH_MAX + 64];
    long number;
    int saved = errno, due;
    if (mode < 0 || !resolve(folder, path, full) || !below(full)) {
        errno = saved;
        return 0;
    }
    pthread_mutex_lock(&mutex);
    number = ++count;
    pthread_mutex_unlock(&mutex);
    if (log_to >= 0) {
        int length = snprintf(line, sizeof line, "%ld %s %s\n", number, call, full + root_length);
        if (!real_write)
            real_write = dlsym(RTLD_NEXT, "write");
        real_write(log_to, line, (size_t)length);
    }
    due = number == wanted;
    errno = saved;
    if (mode == 1 && due)
        kill(getpid(), SIGKILL), pause();
    if (mode == 2 && due) {
        if (writes == 2)
            return 2;
        kill(getpid(), SIGKILL), pause();
    }
    if ((mode == 3 && due) || (mode == 4 && number >= wanted && (due || writes))) {
        errno = code;
        return 1;
    }
    return 0;
}

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) \
        real = dlsym(RTLD_NEXT, name)

static int opens_for_writing(int flags)
{
    return (flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | O_APPEND)) != 0;
}

#define OPEN(name, symbol) \
    int name(const char *path, int flags, ...) \
    { \
        va_list list; \
        mode_t bits = 0; \
        REAL(int, symbol, const char *, int, ...); \
        if (flags & (O_CREAT | __O_TMPFILE)) { \
            va_start(list, flags); \
            bits = va_arg(list, mode_t); \
            va_end(list); \
        } \
        if (opens_for_writing(flags) && meet("open", AT_FDCWD, path, 1) == 1) \
            return -1; \
        return real(path, flags, bits); \
    }

OPEN(open, "open")
OPEN(open64, "open64")

#define OPENAT(name, symbol) \
    int name(int folder, const char *path, int flags, ...) \
    { \
        va_list list; \
        mode_t bits = 0; \
        REAL(int, symbol, int, const char *, int, ...); \
        if (flags & (O_CREAT | __O_TMPFILE)) { \
            va_start(list, flags); \
            bits = va_arg(list, mode_t); \
            va_end(list); \
        } \
        if (opens_for_writing(flags) && meet("open", folder, path, 1) == 1) \
            return -1; \
        return real(folder, path, flags, bits); \
    }

OPENAT(openat, "openat")
OPENAT(openat64, "openat64")

ssize_t write(int file, const void *data, size_t size)
{
    if (!real_write)
        real_write = dlsym(RTLD_NEXT, "write");
    switch (meet("write", file, NULL, 2)) {
    case 1:
        return -1;
    case 2:
        real_write(file, data, size / 2);
        kill(getpid(), SIGKILL), pause();
    }
    return real_write(file, data, size);
}

#define PWRITE(name, symbol, type) \
    ssize_t name(int file, const void *data, size_t size, type offset) \
    { \
        REAL(ssize_t, symbol, int, const void *, size_t, type); \
        switch (meet("write", file, NULL, 2)) { \
        case 1: \
            return -1; \
        case 2: \
            real(file, data, size / 2, offset); \
            kill(getpid(), SIGKILL), pause(); \
        } \
        return real(file, data, size, offset); \
    }

PWRITE(pwrite, "pwrite", off_t)
PWRITE(pwrite64, "pwrite64", off64_t)

ssize_t writev(int file, const struct iovec *parts, int number)
{
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    switch (meet("write", file, NULL, 2)) {
    case 1:
        return -1;
    case 2:
        real(file, parts, number > 1 ? number / 2 : 0);
        kill(getpid(), SIGKILL), pause();
    }
    return real(file, parts, number);
}

#define ON_FILE(name, call, symbol) \
    int name(int file) \
    { \
        REAL(int, symbol, int); \
        return meet(call, file, NULL, 0) == 1 ? -1 : real(file); \
    }

ON_FILE(fsync, "sync", "fsync")
ON_FILE(fdatasync, "sync", "fdatasync")

#define TRUNCATE(name, symbol, type) \
    int name(int file, type size) \
    { \
        REAL(int, symbol, int, type); \
        return meet("truncate", file, NULL, 1) == 1 ? -1 : real(file, size); \
    }

TRUNCATE(ftruncate, "ftruncate", off_t)
TRUNCATE(ftruncate64, "ftruncate64", off64_t)

/* What is renamed or linked counts under its new name. */
int rename(const char *from, const char *to)
{
    REAL(int, "rename", const char *, const char *);
    return meet("rename", AT_FDCWD, to, 1) == 1 ? -1 : real(from, to);
}

int renameat(int a, const char *from, int b, const char *to)
{
    REAL(int, "renameat", int, const char *, int, const char *);
    return meet("rename", b, to, 1) == 1 ? -1 : real(a, from, b, to);
}

int renameat2(int a, const char *from, int b, const char *to, unsigned flags)
{
    REAL(int, "renameat2", int, const char *, int, const char *, unsigned);
    return meet("rename", b, to, 1) == 1 ? -1 : real(a, from, b, to, flags);
}

int link(const char *from, const char *to)
{
    REAL(int, "link", const char *, const char *);
    return meet("link", AT_FDCWD, to, 1) == 1 ? -1 : real(from, to);
}

int linkat(int a, const char *from, int b, const char *to, int flags)
{
    REAL(int, "linkat", int, const char *, int, const char *, int);
    return meet("link", b, to, 1) == 1 ? -1 : real(a, from, b, to, flags);
}

int mkdir(const char *path, mode_t bits)
{
    REAL(int, "mkdir", const char *, mode_t);
    return meet("mkdir", AT_FDCWD, path, 1) == 1 ? -1 : real(path, bits);
}

int mkdirat(int folder, const char *path, mode_t bits)
{
    REAL(int, "mkdirat", int, const char *, mode_t);
    return meet("mkdir", folder, path, 1) == 1 ? -1 : real(folder, path, bits);
}

int unlink(const char *path)
{
    REAL(int, "unlink", const char *);
    return meet("unlink", AT_FDCWD, path, 0) == 1 ? -1 : real(path);
}

int unlinkat(int folder, const char *path, int flags)
{
    REAL(int, "unlinkat", int, const char *, int);
    return meet("unlink", folder, path, 0) == 1 ? -1 : real(folder, path, flags);
}

int rmdir(const char *path)
{
    REAL(int, "rmdir", const char *);
    return meet("rmdir", AT_FDCWD, path, 0) == 1 ? -1 : real(path);
}
