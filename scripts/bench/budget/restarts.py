"""What a restart costs: the calls between the reaping of a worker and the exec of the next one, and all that follows."""

import os
import select
import signal
import struct
import subprocess
import time

from budget import trace
from budget.life import KINDS, PATIENCE, Life

AT_ONCE = ["--restart-delay", "0", "--restart-limit", "0", "--crash-loop-limit", "0"]
ROUNDS = 4


def pids(life, count):
    """What so many of `tiny` say when they are there."""
    found = b""
    while len(found) < 4 * count:
        if not select.select([life.said], [], [], PATIENCE)[0]:
            raise SystemExit(f"budgets: {len(found) // 4} of {count} workers came up: {life.complaint()}")
        found += os.read(life.said, 4 * count - len(found))
    return [pid for (pid,) in struct.iter_unpack("i", found)]


def tiny(ground):
    return ground.tool("tiny.c", "tiny", "-nostdlib", f'-DFIFO="{ground.path("life", "out")}"')


def kills(life, pid, rounds=ROUNDS):
    """A worker is killed again and again; the first time does not count. Marks before and after, and who was killed; the
    last of these is the one that lives."""
    killed, first = [], None
    for _ in range(rounds + 1):
        os.kill(pid, signal.SIGKILL)
        (new,) = pids(life, 1)
        mark = life.mark(0.05)
        first, killed, pid = first or mark, [*killed, pid], new
    return first, mark, [*killed[1:], pid]


def restarts(ground):
    """Control and reports are on, as by default; the worker has been up for a while."""
    found = {}
    command = [*AT_ONCE, "--", tiny(ground)]
    for kind in KINDS:
        if kind == "allocations" and not ground.counted:
            continue
        with Life(ground, kind, command, follow=True) as life:
            (pid,) = pids(life, 1)
            life.mark(0.2)
            first, last, killed = kills(life, pid)
            if kind != "calls":
                found[f"restart.{kind}"] = life.between(first, last, ROUNDS)
                continue
            calls = life.calls()
            found["restart.calls"] = sum(call.pid == life.pid and first <= call.at < last for call in calls) / ROUNDS
            found |= to_exec(calls, life.pid, killed[:-1])
    return found


def instructions(ground):
    """Of one restart in user mode, counted one by one as those of a start are."""
    with Life(ground, "wakeups", [*AT_ONCE, "--", tiny(ground)]) as life:
        (pid,) = pids(life, 1)
        life.mark(0.2)
        _, _, killed = kills(life, pid, 1)
        counts = ground.path("instructions")
        steps = subprocess.Popen([ground.tool("steps.c", "steps"), "instructions", str(life.pid), counts])
        try:
            before = stepped(life, counts)
            os.kill(killed[-1], signal.SIGKILL)
            pids(life, 1)
            life.mark(0.1)
            return {"restart.instructions": stepped(life, counts) - before}
        finally:
            life.end()
            steps.wait()


def stepped(life, path):
    """So far; waits until the tracer counts, and the watchdog waits in its loop."""
    end = time.monotonic() + PATIENCE
    while not (os.path.exists(path) and os.path.getsize(path) and trace.tracer(life.pid)):
        if time.monotonic() > end:
            raise SystemExit("budgets: instructions can not be counted here: the watchdog can not be traced")
        time.sleep(0.01)
    life.mark(0.2)
    with open(path, "rb") as file:
        return struct.unpack("Q", file.read(8))[0]


def to_exec(calls, own, killed):
    """The most of several: by the watchdog from its waking and from the reaping to the exec, and by the child."""
    most = {"restart.wake-to-exec": 0, "restart.reap-to-exec": 0, "restart.child-calls": 0}
    for pid in killed:
        reaped = next(n for n, c in enumerate(calls) if c.pid == own and c.name in ("wait4", "waitid") and reaps(c, pid))
        done = next(n for n, c in enumerate(calls) if n > reaped and c.pid != own and c.name == "execve" and c.result == 0)
        # The wait that the death has ended is the last one before the reaping.
        woken = next(n for n in range(reaped, -1, -1) if calls[n].pid == own and calls[n].name.startswith("epoll_"))
        child = calls[done].pid
        counts = {
            "restart.wake-to-exec": sum(c.pid == own for c in calls[woken + 1:done]),
            "restart.reap-to-exec": sum(c.pid == own for c in calls[reaped + 1:done]),
            "restart.child-calls": sum(c.pid == child for c in calls[reaped:done + 1]),
        }
        most = {name: max(count, counts[name]) for name, count in most.items()}
    return most


def reaps(call, pid):
    """wait4 gives the pid, waitid writes it."""
    return call.result == pid or f"si_pid={pid}" in call.text


def many(ground):
    """Memory at rest with more and more services, and the restart of one of a thousand."""
    found, program = {}, tiny(ground)
    for count in (1, 100, 1000):
        with Life(ground, "wakeups", command(ground, program, count)) as life:
            pids(life, count)
            first = life.mark(1.0)
            memory = rollup(life.pid)
            found[f"memory.pss-{count}"], found[f"memory.anonymous-{count}"] = memory["Pss"], memory["Anonymous"]
            if count == 1000:
                found["idle-minute.wakeups-1000"] = life.between(first, life.mark(3.0), 3 / 60)
    each = (found["memory.pss-1000"] - found["memory.pss-100"]) / 900
    found["memory.each"] = round(each, 2)
    for count in (1, 1000):
        with Life(ground, "calls", command(ground, program, count, True)) as life:
            pid = pids(life, count)[count // 2]
            life.mark(0.5)
            first, last, _ = kills(life, pid)
            found[f"restart.calls-of-{count}"] = life.between(first, last, ROUNDS)
    return found


def command(ground, program, count, file=False):
    """One: the prefix form, but where a file is asked for. More: a file."""
    if count == 1 and not file:
        return ["--", program]
    path = ground.path("many.toml")
    with open(path, "w") as file:
        file.write('[watchdog]\nname = "many"\n[defaults]\nrestart_delay = "0s"\nrestart_limit = 0\ncrash_loop_limit = 0\n')
        file.writelines(f'[service.s{n}]\ncommand = ["{program}"]\n' for n in range(count))
    return ["up", "-f", path, "--log-level", "error", "--no-progress", "--output", "none"]


def rollup(pid):
    """Name -> KiB."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        lines = [line.split() for line in file]
    return {words[0].rstrip(":"): int(words[1]) for words in lines if len(words) == 3 and words[2] == "kB"}
