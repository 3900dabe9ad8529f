/*
 * How fast output gets through, and whether all of it does.
 *
 *   flood write MIB [FILE]   write MIB mebibytes of lines to stdout; nanoseconds taken go into FILE
 *   flood read  FILE         read stdin to its end, compare every byte; "BYTES NANOSECONDS WRONG" go into FILE
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BLOCK (64 * 1024)
#define LINE 128

static unsigned char pattern[2 * BLOCK];

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int writer(uint64_t left, const char *name) {
    uint64_t begin = now();
    while (left) {
        /* Whole blocks; a short write goes on where it stopped, so the stream repeats with period BLOCK. */
        size_t done = 0;
        while (done < BLOCK) {
            ssize_t n = write(1, pattern + done, BLOCK - done);
            if (n <= 0)
                return 1;
            done += (size_t)n;
        }
        left -= BLOCK;
    }
    uint64_t took = now() - begin;
    FILE *file = name ? fopen(name, "w") : NULL;
    if (file) {
        fprintf(file, "%llu\n", (unsigned long long)took);
        fclose(file);
    }
    return 0;
}

static int reader(const char *name) {
    static unsigned char buffer[BLOCK];
    uint64_t bytes = 0, begin = 0, wrong = 0;
    for (;;) {
        ssize_t n = read(0, buffer, sizeof buffer);
        if (n <= 0)
            break;
        if (!begin)
            begin = now();
        wrong += memcmp(buffer, pattern + bytes % BLOCK, (size_t)n) != 0;
        bytes += (uint64_t)n;
    }
    uint64_t took = begin ? now() - begin : 0;
    FILE *file = fopen(name, "w");
    if (!file)
        return 1;
    fprintf(file, "%llu %llu %llu\n", (unsigned long long)bytes, (unsigned long long)took, (unsigned long long)wrong);
    return fclose(file) ? 1 : 0;
}

int main(int argc, char **argv) {
    for (size_t i = 0; i < sizeof pattern; i++)
        pattern[i] = i % LINE == LINE - 1 ? '\n' : (unsigned char)('a' + (i % BLOCK) / LINE % 26);
    if (argc >= 3 && strcmp(argv[1], "write") == 0)
        return writer(strtoull(argv[2], NULL, 10) << 20, argc > 3 ? argv[3] : NULL);
    if (argc == 3 && strcmp(argv[1], "read") == 0)
        return reader(argv[2]);
    return 2;
}
