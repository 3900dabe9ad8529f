"""One watchdog that is looked at while it lives, in one of three ways."""

import os
import select
import signal
import struct
import subprocess
import threading
import time

from budget import trace

NULL = subprocess.DEVNULL
PATIENCE = 90
# What is counted, and of which binary: system calls under strace, wake-ups and allocations without it, since a process that is
# traced sleeps at each call.
KINDS = ("calls", "wakeups", "allocations")


class Life:
    """`kind`: one of KINDS. Marks are taken while the watchdog is at rest; `between` two of them is what was counted."""

    def __init__(self, ground, kind, arguments, follow=False):
        self.ground, self.kind, self.traced = ground, kind, None
        self.folder = ground.fresh("life")
        self.inbox, self.said = self.fifo("in"), self.fifo("out")
        words, self.trace = ground.strace(follow) if kind == "calls" else ([], None)
        binary = ground.counted if kind == "allocations" else ground.binary
        self.errors = os.path.join(self.folder, "errors")
        arguments = [word.replace("@", self.folder) for word in arguments]
        # No reports of an earlier life: they are looked at when one is added.
        env = dict(ground.env, XDG_STATE_HOME=os.path.join(self.folder, "state"))
        with open(self.errors, "w") as errors:
            self.process = subprocess.Popen([*words, binary, *arguments], env=env, stdin=NULL, stdout=subprocess.PIPE, stderr=errors)
        threading.Thread(target=drain, args=(self.process.stdout,), daemon=True).start()
        try:
            self.pid = self.found(binary)
        except BaseException:
            self.process.kill()
            raise
        self.counter = counter(self.pid, binary) if kind == "allocations" else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def fifo(self, name):
        path = os.path.join(self.folder, name)
        os.mkfifo(path)
        return os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def found(self, binary):
        """The pid of the watchdog: strace's child, where it is traced."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self.process.poll() is None:
            candidates = [self.process.pid]
            if self.kind == "calls":
                with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as file:
                    candidates = [int(word) for word in file.read().split()]
            for pid in candidates:
                try:
                    if os.path.samefile(f"/proc/{pid}/exe", binary):
                        return pid
                except OSError:
                    pass
            time.sleep(0.001)
        raise SystemExit(f"budgets: the watchdog did not come up: {self.complaint()}")

    def complaint(self):
        with open(self.errors) as file:
            return file.read().strip()[-500:] or "it said nothing"

    def hear(self, letter, count=1):
        """Waits until the worker has said so many of this letter; other ones are passed over."""
        end = time.monotonic() + PATIENCE
        while count > 0:
            left = end - time.monotonic()
            if left < 0 or not select.select([self.said], [], [], left)[0]:
                raise SystemExit(f"budgets: the worker did not say {letter}: {self.complaint()}")
            count -= os.read(self.said, 1) == letter.encode()

    def order(self, letter, count=1):
        """So many times, one after the other, each to its end."""
        for _ in range(count):
            os.write(self.inbox, letter.encode())
            self.hear("d")
            trace.settle(self.pid)

    def mark(self, pause=0.0):
        """`pause`: what is still under way elsewhere and will wake it."""
        time.sleep(pause)
        trace.settle(self.pid)
        if self.kind == "calls":
            return time.time()
        return trace.wakeups(self.pid) if self.kind == "wakeups" else self.counter()

    def end(self):
        if self.process.poll() is None:
            os.kill(self.pid, signal.SIGTERM)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                os.kill(self.pid, signal.SIGKILL)
                self.process.kill()
                self.process.wait()
        for fd in (self.inbox, self.said):
            if fd is not None:
                os.close(fd)
        self.inbox = self.said = None

    def calls(self):
        """All that were traced. Ends the life first."""
        self.end()
        if self.traced is None:
            with open(self.trace) as file:
                self.traced = trace.calls(file.read())
        return self.traced

    def between(self, first, second, events):
        """What one event took."""
        if self.kind == "calls":
            count = sum(first <= call.at < second for call in self.calls())
        else:
            count = second - first
        return round(count / events, 2)


def drain(stream):
    """Reads what the watchdog writes, and drops it."""
    while os.read(stream.fileno(), 1 << 20):
        pass
    stream.close()


def counter(pid, binary):
    """A function that reads the number of allocations from the memory of a process of the counting build."""
    names = subprocess.run(["nm", binary], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    places = [int(line.split()[0], 16) for line in names if "counted" in line and "ALLOCATIONS" in line]
    if len(places) != 1:
        raise SystemExit(f"budgets: {len(places)} counters of allocations in the binary: build it with --features counted")
    with open(f"/proc/{pid}/maps") as file:
        base = next(int(line.split("-")[0], 16) for line in file if line.rstrip().endswith(binary))

    def read():
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            memory.seek(base + places[0])
            return struct.unpack("Q", memory.read(8))[0]

    return read
