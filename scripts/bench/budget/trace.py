"""System calls as strace tells them (`-ttt -o FILE`, with or without `-f`), and what the kernel says of a process."""

import os
import re
import time

LINE = re.compile(r"^(?:(\d+) +)?(\d+\.\d+) (.*)$")
BEGUN = re.compile(r"^(\w+)\((.*)$")
RESUMED = re.compile(r"^<\.\.\. (\w+) resumed>(.*)$")
UNFINISHED = "<unfinished ...>"
# epoll_wait, epoll_pwait and epoll_pwait2, where the loop stands still.
WAITS = {"x86_64": ("232", "281", "441"), "aarch64": ("22", "441")}.get(os.uname().machine)


class Call:
    """One system call: of which process (0: the only one), when it was begun, its name, and its arguments and result."""

    def __init__(self, pid, at, name, text):
        self.pid, self.at, self.name, self.text = pid, at, name, text

    @property
    def result(self):
        """None: it has not come back, or does not."""
        found = re.search(r"\) += (-?\d+)[^=]*$", self.text)
        return int(found.group(1)) if found else None


def calls(text):
    """All calls of a trace, in the order in which they were begun."""
    found, open_calls = [], {}
    for line in text.splitlines():
        parts = LINE.match(line)
        if not parts:
            continue
        pid, at, rest = int(parts.group(1) or 0), float(parts.group(2)), parts.group(3)
        begun, resumed = BEGUN.match(rest), RESUMED.match(rest)
        if begun:
            call = Call(pid, at, begun.group(1), begun.group(2).replace(UNFINISHED, ""))
            found.append(call)
            open_calls[pid] = call
        elif resumed and pid in open_calls:
            open_calls.pop(pid).text += resumed.group(2)
    return found


def state(pid):
    """The letter of its state; None: it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0]
    except OSError:
        return None


def waits(pid):
    """It sleeps in its loop, with nothing left to do: a process that was woken does not count as asleep any more, also before
    it has run."""
    if state(pid) != "S":
        return False
    try:
        with open(f"/proc/{pid}/syscall") as file:
            return WAITS is None or file.read().split()[0] in WAITS
    except (OSError, IndexError):
        return True


def settle(pid, seconds=90):
    """Waits until it has done all there is to do."""
    end = time.monotonic() + seconds
    while not waits(pid):
        if time.monotonic() > end:
            raise SystemExit(f"budgets: the watchdog did not come to rest in {seconds} s (state {state(pid)})")
        time.sleep(0.0005)


def wakeups(pid):
    """How often it has slept and was woken."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("voluntary_ctxt_switches"))


def tracer(pid):
    """The pid of its tracer; 0: none."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("TracerPid"))
