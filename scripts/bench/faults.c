/*
 * Minor page faults of a command without those of its children: `faults ROUNDS PROGRAM ARG..`, one number a line. It is
 * read from /proc while the process is a zombie, since what wait4 gives has the children in it. Started by vfork from a small
 * process, because what is touched before the exec is counted too.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static long faults_of(pid_t pid) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    if (!file)
        return -1;
    size_t n = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[n] = 0;
    char *rest = strrchr(text, ')');
    long minor = -1;
    /* state, parent, group, session, terminal, its group, flags, minflt */
    if (!rest || sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %ld", &minor) != 1)
        return -1;
    return minor;
}

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    for (int left = atoi(argv[1]); left > 0; left--) {
        pid_t pid = vfork();
        if (pid == 0) {
            execv(argv[2], argv + 2);
            _exit(127);
        }
        siginfo_t info;
        if (pid < 0 || waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) < 0)
            return 1;
        long faults = faults_of(pid);
        int status;
        waitpid(pid, &status, 0);
        if (faults < 0 || status != 0)
            return 1;
        printf("%ld\n", faults);
    }
    return 0;
}
