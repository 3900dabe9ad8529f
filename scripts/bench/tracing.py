"""Where the time of a prefix run and of a restart goes: system calls, forks, execs, exits and page faults of all its processes with
the kernel's own times (tracefs, an instance of our own), or by strace where tracefs is not ours to use. What the tracing itself costs
is taken off: the price of one event is measured, and each step has its number of them."""

import mmap
import os
import re
import shutil
import signal
import struct
import subprocess
import time

from bench import AT_ONCE, Supervised, median, read, supervisors, wait_for

TRACEFS = "/sys/kernel/tracing"
EVENTS = ("raw_syscalls/sys_enter", "raw_syscalls/sys_exit", "sched/sched_process_fork", "sched/sched_process_exit",
          "exceptions/page_fault_user", "exceptions/page_fault_kernel")
SPAWNS = ("clone", "clone3", "vfork", "fork")
WAITS = ("epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll")
REAPS = ("wait4", "waitid")
# Kinds of system calls, for the table of what they cost in all.
KINDS = {
    "memory": ("mmap", "munmap", "mprotect", "brk", "madvise", "mremap"),
    "signals": ("rt_sigaction", "rt_sigprocmask", "sigaltstack", "signalfd4", "kill", "pidfd_send_signal"),
    "files and directories": ("open", "openat", "openat2", "close", "fstat", "stat", "lstat", "newfstatat", "statx", "access", "faccessat2",
                              "fcntl", "mkdir", "mkdirat", "unlink", "unlinkat", "umask", "chmod", "fchmod", "getdents64", "flock",
                              "pread64", "read", "write", "readlink", "readlinkat", "close_range", "lseek"),
    "sockets": ("socket", "socketpair", "bind", "listen", "setsockopt", "getsockopt", "shutdown", "recvmsg", "recvfrom", "sendmsg",
                "sendto", "accept4", "connect"),
    "epoll, without waiting": ("epoll_create1", "epoll_ctl"),
    "spawn": SPAWNS,
    "reaping": REAPS,
}


class Event:
    """One thing that a process did: kind (enter, exit, fork, death, fault), a name or number, when in microseconds."""

    __slots__ = ("pid", "at", "kind", "name", "value")

    def __init__(self, pid, at, kind, name, value=None):
        self.pid, self.at, self.kind, self.name, self.value = pid, at, kind, name, value


def call_names():
    """System calls of this machine by number, as its C headers know them."""
    done = subprocess.run(["cc", "-E", "-dM", "-x", "c", "-include", "sys/syscall.h", "/dev/null"], stdout=subprocess.PIPE, text=True, check=True)
    return {int(n): name for name, n in re.findall(r"#define __NR_(\w+) (\d+)", done.stdout)}


class Tracefs:
    """An instance of our own, for one process and its descendants."""

    method = "tracefs"

    def __init__(self):
        self.path = f"{TRACEFS}/instances/watchdog-bench-{os.getpid()}"
        os.mkdir(self.path)
        try:
            self.put("trace_clock", "mono")
            self.put("buffer_size_kb", "40960")
            self.put("options/event-fork", "1")
            self.events = [e for e in EVENTS if os.path.exists(f"{self.path}/events/{e}/enable")]
            self.names = call_names()
        except BaseException:
            self.close()
            raise

    def put(self, name, text):
        with open(f"{self.path}/{name}", "w") as file:
            file.write(text)

    def close(self):
        try:
            os.rmdir(self.path)
        except OSError:
            pass

    def run(self, start, wait):
        """`start` gives a stopped process, which runs from here on; `wait` returns when it has done what is to be traced."""
        process = start()
        self.put("set_event_pid", str(process.pid))
        self.put("trace", "")
        for event in self.events:
            self.put(f"events/{event}/enable", "1")
        try:
            os.kill(process.pid, signal.SIGCONT)
            wait(process)
        finally:
            self.put("tracing_on", "0")
            for event in self.events:
                self.put(f"events/{event}/enable", "0")
        found = list(self.parse())
        self.put("trace", "")
        self.put("tracing_on", "1")
        return found

    LINE = re.compile(r".*-(\d+) +\[\d+\] +\S+ +(\d+)\.(\d+): (\w+): (.*)")

    def parse(self):
        with open(f"{self.path}/trace", errors="replace") as file:
            for line in file:
                found = self.LINE.match(line)
                if not found:
                    continue
                pid, at, what, more = int(found[1]), int(found[2]) * 1_000_000 + int(found[3]), found[4], found[5]
                if what in ("sys_enter", "sys_exit"):
                    words = more.split()
                    value = int(words[3]) if what == "sys_exit" else None
                    yield Event(pid, at, what[4:], self.names.get(int(words[1]), words[1]), value)
                elif what == "sched_process_fork":
                    yield Event(pid, at, "fork", "", int(re.search(r"child_pid=(\d+)", more)[1]))
                elif what == "sched_process_exit":
                    yield Event(pid, at, "death", "")
                else:
                    yield Event(pid, at, "fault", what)


class Strace:
    """The same events from strace: a stop at each call, so what is taken off is much."""

    method = "strace"

    def __init__(self, bench):
        self.out = bench.path("trace", "strace")

    def close(self):
        pass

    def run(self, start, wait):
        process = start()
        command = ["strace", "-f", "-q", "--absolute-timestamps=format:unix,precision:ns", "--syscall-times=ns", "-o", self.out,
                   "-p", str(process.pid)]
        tracer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            wait_for(lambda: f"TracerPid:\t{tracer.pid}" in read(f"/proc/{process.pid}/status"), 10)
            os.kill(process.pid, signal.SIGCONT)
            wait(process)
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.wait()
        return list(self.parse())

    LINE = re.compile(r"(\d+) +(\d+)\.(\d+) (?:<\.\.\. (\w+) resumed>|(\w+)\()(.*)")

    def parse(self):
        last = {}
        for line in open(self.out, errors="replace"):
            found = self.LINE.match(line)
            if not found:
                gone = re.match(r"(\d+) +(\d+)\.(\d+) \+\+\+", line)
                if gone:
                    yield Event(int(gone[1]), int(gone[2]) * 1e6 + int(gone[3]) / 1e3, "death", "")
                continue
            pid, at, name, more = int(found[1]), int(found[2]) * 1e6 + int(found[3]) / 1e3, found[4] or found[5], found[6]
            if not found[4]:
                yield Event(pid, at, "enter", name)
                last[pid] = at
            value = re.search(r"\) += (-?\d+)(?: .*)? <(\d+\.\d+)>$", more)
            if "<unfinished" in more or not value:
                continue
            if name in SPAWNS and int(value[1]) > 0:
                yield Event(pid, last.get(pid, at), "fork", "", int(value[1]))
            yield Event(pid, last.get(pid, at) + float(value[2]) * 1e6, "exit", name, int(value[1]))


def tracer(bench):
    """The better of the two that is permitted here, or None."""
    if os.path.isdir(f"{TRACEFS}/instances") and os.access(f"{TRACEFS}/instances", os.W_OK):
        try:
            return Tracefs()
        except OSError as error:
            bench.say(f"  tracefs: {error}")
    if shutil.which("strace"):
        return Strace(bench)
    return None


def profile(bench):
    """{"method", "prefix": table, "restart": table}, or {} where nothing can be traced."""
    told = tracer(bench)
    if not told:
        bench.say("  neither tracefs nor strace is to be had here: no profile")
        return {}
    try:
        event_us = cost(bench, told)
        return {"method": told.method, "prefix": prefix(bench, told, event_us), "restart": restart(bench, told, event_us)}
    finally:
        told.close()


def cost(bench, told):
    """Microseconds that one event costs: a loop of system calls with and without tracing, two events each."""
    if told.method == "strace":
        # Its stops cost more than a loop of one call shows: there the untraced runs say what to take off.
        return None
    command, times = [bench.tools["stopwatch"], "calls", "40"], []

    def ended(process):
        times.append(int(process.communicate(timeout=60)[0]))

    told.run(lambda: stopped(command, bench.env), ended)
    plain = int(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    return max(0, times[0] - plain) / 2 / 1000


def stopped(command, env):
    """A process that stops before it becomes `command`, so that it can be traced from its first step on."""
    script = 'kill -STOP $$; exec "$@"'
    process = subprocess.Popen(["/bin/sh", "-c", script, "sh", *command], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, start_new_session=True)
    if not wait_for(lambda: read(f"/proc/{process.pid}/stat").rpartition(")")[2].split()[:1] == ["T"], 10):
        process.kill()
        raise SystemExit("bench: a process did not stop to be traced")
    return process


def split(events):
    """Events of each process in their order, and whose child it is."""
    by_pid, parent = {}, {}
    for event in events:
        by_pid.setdefault(event.pid, []).append(event)
        if event.kind == "fork":
            parent[event.value] = event.pid
    for own in by_pid.values():
        own.sort(key=lambda e: e.at)
    return by_pid, parent


def first(events, kind, names=None, after=0, value=None):
    """When that happened for the first time from `after` on."""
    for e in events:
        if e.kind == kind and e.at >= after and (names is None or e.name in names) and (value is None or value(e.value)):
            return e.at
    return None


def last(events, kind, names, before):
    found = [e.at for e in events if e.kind == kind and e.name in names and e.at <= before]
    return found[-1] if found else None


def execs(events):
    """A process that ran a program of its own."""
    return any(e.kind == "exit" and e.name == "execve" and e.value == 0 for e in events)


def prefix(bench, told, event_us):
    lines, rounds = bench.path("trace", "prefix"), 60 if bench.quick else 400
    with open(lines, "w") as file:
        file.write(f"{bench.watchdog} -- /bin/true\n")
    command = [bench.tools["stopwatch"], "times", str(rounds), lines]
    plain = subprocess.run(command, env=bench.env, stdout=subprocess.PIPE, text=True, check=True).stdout
    untraced = [int(line.split()[1]) / 1000 for line in plain.splitlines()]
    events = told.run(lambda: stopped(command, bench.env), lambda process: process.communicate(timeout=300))
    by_pid, parent = split(events)
    runs = []
    for pid, own in by_pid.items():
        driver = by_pid.get(parent.get(pid), [])
        children = [p for p, above in parent.items() if above == pid and execs(by_pid.get(p, []))]
        # A watchdog: it ran a program, and so did the child that it made. Its caller did not come from such a one itself.
        if execs(own) and children and driver and parent.get(parent[pid]) is None:
            runs.append(points(own, driver, by_pid[children[0]]))
    calls = kinds([by_pid[r["pid"]] for r in runs if r])
    return table([r for r in runs if r], untraced, event_us, calls)


def points(own, driver, worker):
    """What happened when in one prefix run: [(words, when)], and the events by which tracing is taken off."""
    pid, entered = own[0].pid, first(own, "enter", ("execve",))
    if entered is None:
        return None
    begin = last(driver, "enter", SPAWNS, entered)
    loaded = first(own, "exit", ("execve",), entered)
    spawn = last(own, "enter", SPAWNS, first(worker, "enter", ("execve",)) or 0)
    if None in (begin, loaded, spawn):
        return None
    loop = first(own, "enter", ("signalfd4", "epoll_create1"), loaded)
    runtime = last(own, "exit", ("sigaltstack", "set_tid_address"), loop or spawn)
    listen = first(own, "exit", ("listen",), loaded)
    socket = first(own, "enter", ("openat2", "mkdirat", "mkdir", "socket"), loop or loaded)
    wexec = first(worker, "enter", ("execve",))
    wloaded = first(worker, "exit", ("execve",), wexec)
    wend = first(worker, "death", after=wloaded or wexec)
    reaped = first(own, "exit", REAPS, wend or 0, lambda v: v == worker[0].pid or v == 0)
    woken = last(own, "exit", WAITS, reaped or 0)
    ending = last(own, "enter", ("exit_group",), float("inf"))
    done = first(driver, "exit", REAPS, ending or 0)
    early = listen is not None and listen < spawn
    told = [
        ("the caller's vfork, up to the exec", entered, own),
        ("exec: the kernel loads the watchdog", loaded, own),
        ("start of libc and of Rust's runtime", runtime, own),
        ("settings: command line, variables, the program found", loop, own),
        ("signals, epoll, stack of the child", socket if early else None, own),
        ("control socket", listen if early else None, own),
        ("channels and environment of the worker, up to the spawn", spawn, own),
        ("spawn: the child, what is set in it, up to its exec", wexec, worker),
        ("exec: the kernel loads the worker", wloaded, worker),
        ("the worker's own run, up to its death", wend, worker),
        ("death of the worker to the wake-up of the watchdog", woken if woken and wend and woken >= wend else None, own),
        ("the signal read, reaping", reaped, own),
        ("clean-up, up to the exit", ending, own),
        ("exit, up to the caller's return from wait", done, own),
    ]
    return {"pid": pid, "begin": begin, "told": [step for step in told if step[1] is not None], "own": own}


def table(runs, untraced, event_us, calls):
    """Means per step over the runs that were not disturbed, with what tracing costs taken off."""
    if not runs:
        return {}
    def took(run):
        return run["told"][-1][1] - run["begin"]

    bound = sorted(took(r) for r in runs)[int(len(runs) * 0.8)]
    orders = [tuple(words for words, _, _ in r["told"]) for r in runs if took(r) <= bound]
    order = max(orders, key=orders.count)
    usual = [r for r in runs if took(r) <= bound and tuple(words for words, _, _ in r["told"]) == order]
    plain = mean(sorted(untraced)[: max(1, int(len(untraced) * 0.8))])
    traced = mean([took(r) for r in usual])
    if event_us is None:
        events = mean([sum(at <= e.at < end for at, end, actor in spans(r) for e in actor) for r in usual])
        event_us = max(0.0, traced - plain) / max(1.0, events)
    steps = {words: {"us": 0.0, "calls": 0.0, "faults": 0.0} for words in order}
    for r in usual:
        for words, (at, end, actor) in zip(order, spans(r)):
            step, within = steps[words], [e for e in actor if at <= e.at < end]
            step["us"] += max(0.0, end - at - event_us * len(within)) / len(usual)
            step["calls"] += sum(e.kind == "enter" for e in within) / len(usual)
            step["faults"] += sum(e.kind == "fault" for e in within) / len(usual)
    return {"steps": steps, "runs": len(usual), "untraced_us": plain, "traced_us": traced, "event_us": event_us, "calls": calls}


def spans(run):
    """Each step from its begin to its end, with the events of the process that is on the way meanwhile."""
    ends = [end for _, end, _ in run["told"]]
    return [(at, end, actor) for at, (_, end, actor) in zip([run["begin"], *ends], run["told"])]


def mean(values):
    return sum(values) / len(values) if values else 0.0


def kinds(processes):
    """What the watchdog's own system calls cost in all, by kind, a run: number and microseconds, with tracing."""
    found = {}
    for own in processes:
        open_call = None
        for e in own:
            if e.kind == "enter":
                open_call = e
            elif e.kind == "exit" and open_call and open_call.name == e.name:
                if e.name not in WAITS and e.name != "execve":
                    kind = next((k for k, names in KINDS.items() if e.name in names), "the rest")
                    row = found.setdefault(kind, {"calls": 0.0, "us": 0.0})
                    row["calls"] += 1 / len(processes)
                    row["us"] += (e.at - open_call.at) / len(processes)
                open_call = None
    return found


def restart(bench, told, event_us):
    """A worker that lives 20 ms and kills itself: from its death to main of the next one."""
    wanted, life = (40, 20) if bench.quick else (250, 20)
    untraced, _ = lives(bench, None, wanted, life)
    _, events = lives(bench, told, wanted, life)
    by_pid, parent = split(events)
    # The watchdog is the one whose children ran the most programs.
    workers = {}
    for pid, above in parent.items():
        if execs(by_pid.get(pid, [])):
            workers.setdefault(above, []).append(pid)
    if not workers:
        return {}
    dog = max(workers, key=lambda p: len(workers[p]))
    own, order = by_pid[dog], sorted(workers[dog], key=lambda p: by_pid[p][0].at)
    runs, after = [], []
    for old, new in zip(order[5:], order[6:]):
        found = one_restart(own, by_pid[old], by_pid[new])
        if found:
            runs.append(found)
            after.append(found.pop("after"))
    result = table(runs, untraced, event_us, {})
    after = [a for a in after if a]
    if result and after:
        result["after"] = {"us": median([a[0] for a in after]), "calls": median([a[1] for a in after])}
    return result


def one_restart(own, old, new):
    death, begun = first(old, "death"), first(new, "enter", ("execve",))
    if death is None or begun is None:
        return None
    spawn = last(own, "enter", SPAWNS, begun)
    reaped = first(own, "exit", REAPS, death, lambda v: v == old[0].pid or v == 0)
    woken = last(own, "exit", WAITS, reaped or 0)
    loaded = first(new, "exit", ("execve",), begun)
    main = first(new, "enter", ("openat", "open"), loaded or begun)
    back = first(own, "exit", SPAWNS, spawn or 0)
    idle = sleeps(own, back or 0)
    if None in (spawn, reaped, loaded, main) or not death <= reaped <= spawn:
        return None
    inside = first(new, "enter")
    told = [
        ("death of the worker to the wake-up of the watchdog", woken if woken and woken >= death else None, own),
        ("the signal read, reaping", reaped, own),
        ("the decision, and all else before the spawn", spawn, own),
        ("spawn: the kernel makes the child", inside if inside < begun else None, own),
        ("what is set in the child, up to its exec", begun, new),
        ("exec: the kernel loads the worker", loaded, new),
        ("start of the worker's libc, up to its main", main, new),
    ]
    after = (idle - back, sum(e.kind == "enter" and back <= e.at < idle for e in own)) if back and idle else None
    return {"begin": death, "told": [step for step in told if step[1] is not None], "after": after}


def sleeps(own, after):
    """When it begins to wait for longer than a turn that only looks whether there is more to do."""
    begin = None
    for e in own:
        if e.name in WAITS and e.at >= after:
            if e.kind == "exit" and begin is not None and e.at - begin > 2000:
                return begin
            begin = e.at if e.kind == "enter" else None
    return None


def lives(bench, told, wanted, life):
    """So many lives of a short worker, traced or not: microseconds from death to main, and the events."""
    notes = bench.path("trace", "notes")
    with open(notes, "wb") as file:
        file.truncate(8 + 16 * 10_000)
    env = {"BENCH_FILE": notes, "BENCH_LIFE": str(life)}
    command, env, _ = supervisors(bench, "trace", bench.tools["worker"], env, ["watchdog"], AT_ONCE)["watchdog"]

    def lived(_=None):
        wait_for(lambda: struct.unpack("Q", read_bytes(notes, 8))[0] >= wanted, 120)

    events = []
    if told:
        running = []
        try:
            events = told.run(lambda: running.append(stopped(command, env)) or running[0], lived)
        finally:
            for process in running:
                os.kill(process.pid, signal.SIGCONT)
                process.send_signal(signal.SIGTERM)
                process.wait()
                process.stdout.close()
    else:
        s = Supervised("watchdog", command, env)
        lived()
        s.end()
    with open(notes, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
        count = struct.unpack_from("Q", data, 0)[0]
        pairs = [struct.unpack_from("QQ", data, 8 + 16 * i) for i in range(max(0, count - 2))]
    return [(b[0] - a[1]) / 1000 for a, b in zip(pairs[5:], pairs[6:])], events


def read_bytes(path, count):
    with open(path, "rb") as file:
        return file.read(count)
