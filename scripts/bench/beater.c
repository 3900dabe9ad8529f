/*
 * A worker that beats when it is asked to: says its pid into a FIFO as `tiny` does, and sends WATCHDOG=1 for each SIGUSR1.
 * Compiled for each run with -DFIFO="path".
 */
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(void) {
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (!path || strlen(path) >= sizeof to.sun_path)
        return 1;
    strcpy(to.sun_path, path);
    socklen_t length = offsetof(struct sockaddr_un, sun_path) + strlen(path);
    if (path[0] == '@')
        to.sun_path[0] = 0;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int pid = getpid(), fifo = open(FIFO, O_WRONLY);
    if (write(fifo, &pid, sizeof pid) != sizeof pid)
        return 1;
    close(fifo);
    for (;;) {
        int got;
        if (sigwait(&set, &got) == 0)
            sendto(fd, "WATCHDOG=1", 10, 0, (struct sockaddr *)&to, length);
    }
}
