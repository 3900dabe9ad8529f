/*
 * Times whole commands, interleaved: in each round every command once, in a new random order, so that whatever the
 * machine does meanwhile happens to all of them alike.
 *
 *   stopwatch ROUNDS FILE    one command a line, words separated by blanks
 *
 * Prints "COMMAND-NUMBER NANOSECONDS STATUS" for each run, from just before vfork to just after wait.
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

int main(int argc, char **argv) {
    static char line[COMMANDS][4096];
    static char *words[COMMANDS][WORDS];
    int count = 0;
    FILE *file = argc == 3 ? fopen(argv[2], "r") : NULL;
    if (!file)
        return 2;
    while (count < COMMANDS && fgets(line[count], sizeof line[count], file)) {
        int n = 0;
        for (char *w = strtok(line[count], " \n"); w && n < WORDS - 1; w = strtok(NULL, " \n"))
            words[count][n++] = w;
        if (n)
            count++;
    }
    int rounds = atoi(argv[1]), out = dup(1), null = open("/dev/null", O_RDWR);
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
            uint64_t time = took(words[order[i]], &status);
            if (round >= 0)
                fprintf(report, "%d %llu %d\n", order[i], (unsigned long long)time, WEXITSTATUS(status));
        }
    }
    return fclose(report) ? 1 : 0;
}
