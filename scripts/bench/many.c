/*
 * The limit for many services: vfork, exec and wait, and nothing else.
 *
 *   many N PROGRAM     runs it N times and again at once whenever one ends; SIGTERM ends all of them, then this
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* pid_max is never above this. */
#define PIDS ((1 << 22) + 1)

extern char **environ;
static volatile sig_atomic_t over;
/* Which pids are ours: by number, so that no death looks at all of them. Pages that no pid falls on are never touched. */
static unsigned char ours[PIDS];

static pid_t lowest = PIDS, highest;

static void end(int signal) {
    (void)signal;
    over = 1;
    for (pid_t pid = lowest; pid <= highest; pid++)
        if (ours[pid])
            kill(pid, SIGTERM);
}

static void start(char **argv) {
    pid_t pid = vfork();
    if (pid == 0) {
        execve(argv[0], argv, environ);
        _exit(127);
    }
    if (pid <= 0)
        return;
    if (pid < lowest)
        lowest = pid;
    if (pid > highest)
        highest = pid;
    ours[pid] = 1;
    if (over)
        kill(pid, SIGTERM);
}

int main(int argc, char **argv) {
    struct sigaction term = {.sa_handler = end};
    if (argc < 3)
        return 2;
    int count = atoi(argv[1]);
    sigaction(SIGTERM, &term, NULL);
    for (int i = 0; i < count; i++)
        start(argv + 2);
    for (;;) {
        pid_t pid = waitpid(-1, NULL, 0);
        if (pid < 0 && errno == ECHILD)
            return 0;
        if (pid <= 0)
            continue;
        ours[pid] = 0;
        if (!over)
            start(argv + 2);
    }
}
