/* Read a file below a home in one step, without the GIL and without following a link, as `home/paths.py` does.

   Nothing here uses Python. A function fails for a link, another kind of file and an error of the system; `errno` is then
   the number of the error, or 0. Python then reads the file again, and says what is wrong with it. */
#ifndef FILES_H
#define FILES_H

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define WALK (O_PATH | O_DIRECTORY | O_CLOEXEC)
#define READ (O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY)

/* Open the directory above a file, name by name; -1 for a failure. The last name is that of the file. */
static int open_above(const char *root, const char *const *names, size_t count)
{
    int directory = open(root, WALK);
    for (size_t number = 0; directory >= 0 && number + 1 < count; number++) {
        int below = openat(directory, names[number], WALK | O_NOFOLLOW);
        close(directory);
        directory = below;
    }
    return directory;
}

/* Open a regular file; -1 for a failure. */
static int open_regular(const char *root, const char *const *names, size_t count, struct stat *status)
{
    const char *name = names[count - 1];
    int directory = open_above(root, names, count);
    if (directory < 0)
        return -1;
    int is_regular = fstatat(directory, name, status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(status->st_mode);
    int file = is_regular ? openat(directory, name, READ) : -1, error = errno;
    close(directory);
    errno = error;
    if (file >= 0 && (fstat(file, status) < 0 || !S_ISREG(status->st_mode))) {
        close(file);
        return -1;
    }
    return file;
}

/* Read bytes of an open file; return how many there are, -1 for a failure. */
static ssize_t read_bytes(int file, char *bytes, size_t size, off_t offset)
{
    size_t have = 0;
    while (have < size) {
        ssize_t more = pread(file, bytes + have, size - have, offset + (off_t)have);
        if (more < 0)
            return -1;
        if (more == 0)
            break;
        have += (size_t)more;
    }
    return (ssize_t)have;
}

/* Read at most `size` bytes of a file from an offset on; NULL for a failure. The caller frees them. */
static char *read_file(
    const char *root, const char *const *names, size_t count, off_t offset, size_t size, ssize_t *have)
{
    struct stat status;
    errno = 0;
    int file = open_regular(root, names, count, &status);
    if (file < 0)
        return NULL;
    size_t left = status.st_size > offset ? (size_t)(status.st_size - offset) : 0;
    if (size > left)
        size = left;
    char *bytes = malloc(size + 1);
    *have = bytes ? read_bytes(file, bytes, size, offset) : -1;
    close(file);
    if (*have < 0) {
        free(bytes);
        return NULL;
    }
    return bytes;
}

#endif
