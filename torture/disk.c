/* What of a host's files would survive its loss: each as it was when it was last synced.
 *
 * Loaded before the C library (LD_PRELOAD) it copies every file under $TORTURE_HOST that a process syncs into
 * $TORTURE_DISK, which then has what was on the disk at the least. See `torture/hosts.py`.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

static void keep(int fd) {
    const char *host = getenv("TORTURE_HOST"), *disk = getenv("TORTURE_DISK");
    char link[64], path[PATH_MAX], copy[PATH_MAX + 64], kept[PATH_MAX + 64], piece[1 << 16];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (!host || !disk || length < 0) return;
    path[length] = 0;
    if (strncmp(path, host, strlen(host)) != 0) return;
    const char *name = strrchr(path, '/') + 1;
    snprintf(copy, sizeof copy, "%s/%s.%d.%d", disk, name, getpid(), gettid());
    snprintf(kept, sizeof kept, "%s/%s", disk, name);
    int out = open(copy, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (out < 0) abort();
    off_t at = 0;
    ssize_t got;
    while ((got = pread(fd, piece, sizeof piece, at)) > 0) {
        if (write(out, piece, got) != got) abort();
        at += got;
    }
    close(out);
    if (rename(copy, kept) != 0) abort();
}

static int synced(const char *call, int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, call);
    int failed = real(fd);
    if (!failed) {
        pthread_mutex_lock(&one_at_a_time); /* an older copy never takes the place of a newer one */
        keep(fd);
        pthread_mutex_unlock(&one_at_a_time);
    }
    return failed;
}

int fsync(int fd) { return synced("fsync", fd); }
int fdatasync(int fd) { return synced("fdatasync", fd); }
