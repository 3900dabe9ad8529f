/*
 * Counts what one process does while others watch it: `steps calls PID FILE` its system calls, by number, `steps instructions
 * PID FILE` its instructions in user space, one step of the processor at a time, which needs no counter of the machine. The
 * counts stand in FILE for as long as this runs: eight bytes each, the sum first, then one for each number. SIGTERM ends it.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#define NUMBERS 511

static volatile sig_atomic_t over;

static void end(int signal) {
    (void)signal;
    over = 1;
}

static void leave(const char *what) {
    perror(what);
    exit(1);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: steps calls|instructions PID FILE\n");
        return 2;
    }
    int each = strcmp(argv[1], "instructions") == 0;
    pid_t pid = atoi(argv[2]);
    int fd = open(argv[3], O_RDWR | O_CREAT, 0600);
    if (fd < 0 || ftruncate(fd, (NUMBERS + 1) * sizeof(uint64_t)) != 0)
        leave(argv[3]);
    volatile uint64_t *counts = mmap(NULL, (NUMBERS + 1) * sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (counts == MAP_FAILED)
        leave("mmap");
    struct sigaction action = {.sa_handler = end};
    sigaction(SIGTERM, &action, NULL);
    if (ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACESYSGOOD) != 0 || ptrace(PTRACE_INTERRUPT, pid, 0, 0) != 0)
        leave("ptrace");
    for (;;) {
        int status;
        if (waitpid(pid, &status, __WALL) < 0) {
            if (errno != EINTR)
                leave("waitpid");
            // It waits for something: bring it to a stop, so that it can be left as it was.
            if (over)
                ptrace(PTRACE_INTERRUPT, pid, 0, 0);
            continue;
        }
        if (!WIFSTOPPED(status))
            return 0;
        int what = WSTOPSIG(status), event = status >> 16, pass = 0;
        if (event == 0 && what == (SIGTRAP | 0x80)) {
            struct __ptrace_syscall_info info;
            if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info) > 0 && info.op == PTRACE_SYSCALL_INFO_ENTRY) {
                counts[0]++;
                if (info.entry.nr < NUMBERS)
                    counts[info.entry.nr + 1]++;
            }
        } else if (event == 0 && what == SIGTRAP && each) {
            counts[0]++;
        } else if (event == 0) {
            pass = what;
        }
        // With a step before it, never with one that is still to be told of: that would be a deadly signal afterwards.
        if (over && (!each || (event == 0 && what == SIGTRAP))) {
            ptrace(PTRACE_DETACH, pid, 0, pass);
            return 0;
        }
        if (ptrace(each ? PTRACE_SINGLESTEP : PTRACE_SYSCALL, pid, 0, pass) != 0)
            leave("ptrace");
    }
}
