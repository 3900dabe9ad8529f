/*
 * A worker that leaves N orphans to PID 1, has them all die at once, and counts the zombies two seconds later.
 *
 *   storm N FILE     (or BENCH_STORM=N, BENCH_OUT=FILE)     the count goes into FILE
 */
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int zombies(void) {
    int found = 0;
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    while (proc && (entry = readdir(proc))) {
        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        char path[300], text[512];
        snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
        FILE *file = fopen(path, "r");
        if (!file)
            continue;
        size_t n = fread(text, 1, sizeof text - 1, file);
        text[n] = 0;
        char *end = strrchr(text, ')');
        found += end && end[1] == ' ' && end[2] == 'Z';
        fclose(file);
    }
    if (proc)
        closedir(proc);
    return found;
}

int main(int argc, char **argv) {
    const char *word = argc == 3 ? argv[1] : getenv("BENCH_STORM");
    const char *out = argc == 3 ? argv[2] : getenv("BENCH_OUT");
    int hold[2], made = 0;
    if (!word || !out || pipe(hold) < 0)
        return 78;
    for (int n = atoi(word); n > 0; n--) {
        pid_t pid = fork();
        if (pid == 0) {
            pid = fork();
            if (pid != 0)
                _exit(pid > 0 ? 0 : 1);
            char byte;
            close(hold[1]);
            /* Held here until the worker closes its end: then all of them go at once. */
            if (read(hold[0], &byte, 1) < 0)
                _exit(1);
            _exit(0);
        }
        int status = 1;
        if (pid > 0 && waitpid(pid, &status, 0) == pid && status == 0)
            made++;
    }
    close(hold[1]);
    sleep(2);
    FILE *file = fopen(out, "w");
    if (!file)
        return 78;
    fprintf(file, "%d %d\n", made, zombies());
    fclose(file);
    if (argc != 3)
        for (;;)
            pause();
    return 0;
}
