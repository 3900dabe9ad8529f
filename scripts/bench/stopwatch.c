/*
 * Times whole commands, interleaved: in each round every command once, in a new random order, so that whatever the
 * machine does meanwhile happens to all of them alike.
 *
 *   stopwatch times ROUNDS FILE    one command a line, words separated by blanks
 *   stopwatch faults ROUNDS FILE
 *   stopwatch calls ROUNDS         nanoseconds of one getppid, the fastest of so many rounds of a hundred
 *
 * Prints "COMMAND-NUMBER NUMBER STATUS" for each run: nanoseconds from just before vfork to just after wait, or the page
 * faults of the command itself, without those of its children, which are read before it is reaped.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define COMMANDS 64
#define WORDS 64
#define WARM_UP 5

extern char **environ;

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t took(char **command, int *status) {
    uint64_t begin = now();
    pid_t pid = vfork();
    if (pid == 0) {
        execve(command[0], command, environ);
        _exit(127);
    }
    waitpid(pid, status, 0);
    return now() - begin;
}

/* Minor and major faults, fields 10 and 12 of /proc/PID/stat; those of its children stand in 11 and 13. */
static uint64_t faults(char **command, int *status) {
    char path[64], text[1024], *end;
    unsigned long minor = 0, major = 0;
    siginfo_t info;
    pid_t pid = vfork();
    if (pid == 0) {
        execve(command[0], command, environ);
        _exit(127);
    }
    waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT);
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    text[file ? fread(text, 1, sizeof text - 1, file) : 0] = 0;
    if (file)
        fclose(file);
    end = strrchr(text, ')');
    if (end)
        sscanf(end + 2, "%*c %*d %*d %*d %*d %*d %*u %lu %*u %lu", &minor, &major);
    waitpid(pid, status, 0);
    return minor + major;
}

static int calls(int rounds) {
    uint64_t best = ~0ull;
    while (rounds--) {
        uint64_t begin = now();
        for (int i = 0; i < 100; i++)
            getppid();
        uint64_t took = (now() - begin) / 100;
        best = took < best ? took : best;
    }
    printf("%llu\n", (unsigned long long)best);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "calls") == 0)
        return calls(atoi(argv[2]));
    static char line[COMMANDS][4096];
    static char *words[COMMANDS][WORDS];
    int count = 0;
    FILE *file = argc == 4 ? fopen(argv[3], "r") : NULL;
    if (!file)
        return 2;
    while (count < COMMANDS && fgets(line[count], sizeof line[count], file)) {
        int n = 0;
        for (char *w = strtok(line[count], " \n"); w && n < WORDS - 1; w = strtok(NULL, " \n"))
            words[count][n++] = w;
        if (n)
            count++;
    }
    int counting = argv[1][0] == 'f';
    int rounds = atoi(argv[2]), out = dup(1), null = open("/dev/null", O_RDWR);
    FILE *report = fdopen(out, "w");
    fcntl(out, F_SETFD, FD_CLOEXEC);
    dup2(null, 0);
    dup2(null, 1);
    dup2(null, 2);
    close(null);
    srand(1);
    for (int round = -WARM_UP; round < rounds; round++) {
        int order[COMMANDS];
        for (int i = 0; i < count; i++) {
            int j = rand() % (i + 1);
            order[i] = order[j];
            order[j] = i;
        }
        for (int i = 0; i < count; i++) {
            int status = 0;
            uint64_t number = (counting ? faults : took)(words[order[i]], &status);
            if (round >= 0)
                fprintf(report, "%d %llu %d\n", order[i], (unsigned long long)number, WEXITSTATUS(status));
        }
    }
    return fclose(report) ? 1 : 0;
}
