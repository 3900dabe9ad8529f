/*
 * The worker of the budgets: does one thing for each byte that it is told through a FIFO, so that what a watchdog does for it
 * can be counted. `puppet IN OUT`; it says `s` into OUT when it is there, `d` when it has done what it was told, and `b` for
 * each ping that it has answered. `puppet tick OUT` says `t` and ends: a command of a probe.
 *
 *   n   one beat to NOTIFY_SOCKET
 *   h   Hello, Ready and the first beat to the native channel; from then on pings are answered
 *   l   one line of 100 bytes to standard output
 *   m   1 MiB of such lines
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { LINE = 100, MIB = 1 << 20 };
static int out = -1, channel = -1;

static void say(char c) {
    if (write(out, &c, 1) != 1)
        _exit(1);
}

static void all(int fd, const void *from, size_t left) {
    const char *at = from;
    while (left > 0) {
        ssize_t n = write(fd, at, left);
        if (n <= 0)
            _exit(1);
        at += n;
        left -= (size_t)n;
    }
}

static void notify_beat(void) {
    static const char word[] = "WATCHDOG=1";
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (!path || strlen(path) >= sizeof to.sun_path)
        _exit(1);
    strcpy(to.sun_path, path);
    if (sendto(fd, word, sizeof word - 1, 0, (struct sockaddr *)&to, sizeof to) < 0)
        _exit(1);
    close(fd);
}

static void hello(void) {
    static const uint32_t frames[] = {8, 0, 1, 4, 1, 4, 4}; /* Hello 1, Ready, Beat */
    const char *fd = getenv("WATCHDOG_CHANNEL");
    if (!fd)
        _exit(1);
    channel = atoi(fd);
    all(channel, frames, sizeof frames);
}

/* Frames of the watchdog, and the answers to all of them in one write. */
static void answer(void) {
    static unsigned char in[65536];
    static size_t have;
    unsigned char reply[4096];
    size_t said = 0, at = 0;
    int pings = 0;
    ssize_t n = read(channel, in + have, sizeof in - have);
    if (n <= 0)
        _exit(0);
    have += (size_t)n;
    while (have - at >= 8 && said < sizeof reply - 64) {
        uint32_t length, variant;
        memcpy(&length, in + at, 4);
        memcpy(&variant, in + at + 4, 4);
        if (have - at < 4 + (size_t)length)
            break;
        uint32_t head[2];
        uint64_t body[2] = {0, 0};
        size_t size = 0;
        if (variant == 1) { /* Ping: Pong */
            head[0] = 12, head[1] = 3, size = 8;
            memcpy(body, in + at + 8, 8);
            pings++;
        } else if (variant == 6) { /* AskHealth: no checks */
            head[0] = 12, head[1] = 8, size = 8;
        } else if (variant == 7) { /* AskMetrics: none */
            head[0] = 20, head[1] = 9, size = 16;
        }
        if (size > 0) {
            memcpy(reply + said, head, sizeof head);
            memcpy(reply + said + sizeof head, body, size);
            said += sizeof head + size;
        }
        at += 4 + length;
    }
    memmove(in, in + at, have - at);
    have -= at;
    all(channel, reply, said);
    while (pings-- > 0)
        say('b');
}

static void lines(size_t bytes) {
    static char text[MIB];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = i % LINE == LINE - 1 ? '\n' : 'a' + i % LINE % 26;
    text[sizeof text - 1] = '\n';
    all(1, text, bytes);
}

int main(int argc, char **argv) {
    /* Both ways, so that neither end waits for the other. */
    if (argc < 3 || (out = open(argv[2], O_RDWR | O_CLOEXEC)) < 0)
        return 2;
    if (strcmp(argv[1], "tick") == 0) {
        say('t');
        return 0;
    }
    struct pollfd fds[2] = {{.fd = open(argv[1], O_RDWR | O_CLOEXEC), .events = POLLIN}, {.fd = -1, .events = POLLIN}};
    if (fds[0].fd < 0)
        return 1;
    say('s');
    for (;;) {
        fds[1].fd = channel;
        if (poll(fds, 2, -1) < 0)
            return 1;
        if (fds[1].revents)
            answer();
        char order;
        if (!(fds[0].revents & POLLIN) || read(fds[0].fd, &order, 1) != 1)
            continue;
        switch (order) {
        case 'n': notify_beat(); break;
        case 'h': hello(); break;
        case 'l': lines(LINE); break;
        case 'm': lines(MIB); break;
        default: return 1;
        }
        say('d');
    }
}
