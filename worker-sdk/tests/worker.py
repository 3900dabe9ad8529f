#!/usr/bin/env python3
"""A worker in Python, written from docs/protocol.md alone. Ends when asked to, or when the watchdog is gone."""
import fcntl
import os
import select
import socket
import struct
import sys

PROTOCOL, BODY_MAX = 1, 65536
HELLO, READY, STATUS, PONG, BEAT, STOPPING, RELOADING, _EXTEND, HEALTH, METRICS = range(10)
TAKES_SHUTDOWN = 12
IN_HELLO, IN_PING, IN_SHUTDOWN, IN_RELOAD, IN_TELL, IN_LOW_MEMORY, IN_ASK_HEALTH, IN_ASK_METRICS = range(8)


def text(string):
    data = string.encode()
    return struct.pack("<Q", len(data)) + data


class Channel:
    def __init__(self, number):
        fcntl.fcntl(number, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
        self.socket = socket.socket(fileno=number)
        self.buffer = b""
        self.greeted = False

    def say(self, variant, fields=b""):
        self.socket.sendall(struct.pack("<II", 4 + len(fields), variant) + fields)

    def hear(self):
        """Messages that have arrived, as (variant, fields). Raises EOFError at the end."""
        data = self.socket.recv(4096)
        if not data:
            raise EOFError
        self.buffer += data
        while len(self.buffer) >= 4:
            (length,) = struct.unpack_from("<I", self.buffer)
            if not 4 <= length <= BODY_MAX:
                raise ValueError(f"a body of {length} bytes")
            if len(self.buffer) < 4 + length:
                return
            body, self.buffer = self.buffer[4 : 4 + length], self.buffer[4 + length :]
            (variant,) = struct.unpack_from("<I", body)
            if not self.greeted and variant != IN_HELLO:
                raise ValueError("no hello")
            self.greeted = True
            yield variant, body[4:]


def main():
    number = os.environ.pop("WATCHDOG_CHANNEL", None)
    if number is None:
        print("nobody supervises")
        return 0
    channel = Channel(int(number))
    channel.say(HELLO, struct.pack("<I", PROTOCOL))
    channel.say(TAKES_SHUTDOWN)
    channel.say(STATUS, text("warm"))
    channel.say(READY)
    channel.say(BEAT)
    words = 0
    while True:
        select.select([channel.socket], [], [])
        try:
            for variant, fields in channel.hear():
                if variant == IN_HELLO and struct.unpack("<I", fields) != (PROTOCOL,):
                    return 3
                elif variant == IN_PING:
                    channel.say(PONG, fields)
                elif variant == IN_RELOAD:
                    channel.say(RELOADING)
                    channel.say(READY)
                elif variant == IN_TELL:
                    words += 1
                    channel.say(STATUS, text("told " + fields[8:].decode()))
                elif variant == IN_ASK_HEALTH:
                    check = text("words") + b"\x01" + text("fine")
                    channel.say(HEALTH, struct.pack("<Q", 1) + check)
                elif variant == IN_ASK_METRICS:
                    counter = text("words_total") + struct.pack("<Q", words)
                    gauge = text("load") + struct.pack("<d", 0.5)
                    one = struct.pack("<Q", 1)
                    channel.say(METRICS, one + counter + one + gauge)
                elif variant == IN_SHUTDOWN:
                    channel.say(STOPPING)
                    return 0
        except EOFError:
            return 4


try:
    sys.exit(main())
except BrokenPipeError:
    sys.exit(4)
