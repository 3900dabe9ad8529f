/*
 * A service that talks, one whose beats are timed, and what checks the files, for scripts/bench/chatty.
 *
 *   chatty lines RATE SECONDS SIZE PER_WRITE FILE   so many lines of SIZE bytes a second, PER_WRITE of them in each write; the
 *                                                   number of lines written goes into FILE, and it waits to be ended
 *   chatty beats FILE                               beats every 100 ms on the channel of its watchdog; notes in FILE how long
 *                                                   each beat lay there unread, in nanoseconds
 *   chatty check SIZE FILE                          the lines of a file, and how many are not the one that is expected there
 */
#include <linux/sockios.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void rest(uint64_t nanos) {
    struct timespec t = {(time_t)(nanos / 1000000000u), (long)(nanos % 1000000000u)};
    nanosleep(&t, NULL);
}

static void fill(char *line, size_t size, uint64_t number) {
    memset(line, 'x', size - 1);
    line[size - 1] = '\n';
    for (int digit = 8; digit >= 0; digit--, number /= 10)
        line[digit] = (char)('0' + number % 10);
}

static int lines(double rate, double seconds, size_t size, uint64_t per_write, const char *name) {
    char *block = malloc(size * per_write);
    uint64_t begin = now(), written = 0;
    if (!block)
        return 1;
    for (;;) {
        double past = (double)(now() - begin) / 1e9;
        if (past >= seconds)
            break;
        if ((double)(written + per_write) > past * rate) {
            rest((uint64_t)(1e9 * (double)per_write / rate));
            continue;
        }
        for (uint64_t i = 0; i < per_write; i++)
            fill(block + i * size, size, written + i);
        for (size_t done = 0; done < size * per_write;) {
            ssize_t n = write(1, block + done, size * per_write - done);
            if (n <= 0)
                return 1;
            done += (size_t)n;
        }
        written += per_write;
    }
    FILE *file = fopen(name, "w");
    if (!file)
        return 1;
    fprintf(file, "%llu\n", (unsigned long long)written);
    fclose(file);
    for (;;)
        pause();
}

/* Frames of docs/protocol.md. A Unix socket counts what its other end has not read: when nothing is left, it has the beat. */
static int beats(const char *name) {
    static const unsigned char hello[] = {8, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0}, ready[] = {4, 0, 0, 0, 1, 0, 0, 0};
    static const unsigned char beat[] = {4, 0, 0, 0, 4, 0, 0, 0};
    const char *number = getenv("WATCHDOG_CHANNEL");
    FILE *file = fopen(name, "w");
    char heard[4096];
    int fd;
    if (!number || !file)
        return 1;
    fd = atoi(number);
    /* Else it would time how long it waits for a processor itself. */
    struct sched_param first = {.sched_priority = 50};
    fprintf(file, "%s\n", sched_setscheduler(0, SCHED_FIFO, &first) == 0 ? "first" : "alike");
    send(fd, hello, sizeof hello, MSG_NOSIGNAL);
    send(fd, ready, sizeof ready, MSG_NOSIGNAL);
    for (;;) {
        rest(100000000);
        while (recv(fd, heard, sizeof heard, MSG_DONTWAIT) > 0)
            ;
        int unread = 1;
        uint64_t sent = now();
        if (send(fd, beat, sizeof beat, MSG_NOSIGNAL) < 0)
            return 0;
        while (ioctl(fd, SIOCOUTQ, &unread) == 0 && unread > 0)
            rest(50000);
        fprintf(file, "%llu\n", (unsigned long long)(now() - sent));
        fflush(file);
    }
}

static int check(size_t size, const char *name) {
    FILE *file = fopen(name, "r");
    char *line = malloc(size), *wanted = malloc(size);
    uint64_t count = 0, wrong = 0;
    size_t n;
    if (!file || !line || !wanted)
        return 1;
    setvbuf(file, NULL, _IOFBF, 1 << 20);
    while ((n = fread(line, 1, size, file)) > 0) {
        fill(wanted, size, count);
        wrong += n != size || memcmp(line, wanted, size) != 0;
        count += n == size;
    }
    printf("%llu %llu\n", (unsigned long long)count, (unsigned long long)wrong);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 7 && strcmp(argv[1], "lines") == 0)
        return lines(atof(argv[2]), atof(argv[3]), strtoul(argv[4], NULL, 10), strtoul(argv[5], NULL, 10), argv[6]);
    if (argc == 3 && strcmp(argv[1], "beats") == 0)
        return beats(argv[2]);
    if (argc == 4 && strcmp(argv[1], "check") == 0)
        return check(strtoul(argv[2], NULL, 10), argv[3]);
    return 2;
}
