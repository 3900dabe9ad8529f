/*
 * The worker of the restart and idle measures: notes when it came to main, so that what is measured ends there and not
 * somewhere in a loader. Its words come from variables, because a run file cannot have arguments.
 *
 *   BENCH_PIPE=FIFO   write {pid, CLOCK_MONOTONIC at main} to the FIFO, then wait for the end
 *   BENCH_FILE=FILE   write {main, just before the end} into a mapped file, then die by SIGKILL: a crash loop without a
 *                     system call between the last note and the death
 *   BENCH_LIFE=MS     with BENCH_FILE: live so long before it
 *
 * The mapped file: one u64 counter, then pairs of u64.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int main(void) {
    uint64_t at_main = now();
    const char *name = getenv("BENCH_FILE");
    if (name) {
        int fd = open(name, O_RDWR);
        struct stat st;
        if (fd < 0 || fstat(fd, &st) < 0)
            return 78;
        uint64_t *map = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED)
            return 78;
        uint64_t room = ((uint64_t)st.st_size / 8 - 1) / 2;
        const char *life = getenv("BENCH_LIFE");
        if (life) {
            struct timespec left = {0, 1000000L * atol(life)};
            nanosleep(&left, NULL);
        }
        uint64_t n = __atomic_fetch_add(map, 1, __ATOMIC_SEQ_CST);
        if (n < room) {
            map[1 + 2 * n] = at_main;
            map[2 + 2 * n] = now();
        }
        kill(getpid(), SIGKILL);
    }
    name = getenv("BENCH_PIPE");
    if (name) {
        int fd = open(name, O_WRONLY);
        uint64_t note[2] = {(uint64_t)getpid(), at_main};
        if (fd < 0 || write(fd, note, sizeof note) != sizeof note)
            return 78;
        close(fd);
    }
    for (;;)
        pause();
}
