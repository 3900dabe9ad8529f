"""The measures. Each gives a plain dictionary: tool -> numbers, in microseconds, KiB or MiB/s."""

import mmap
import os
import random
import select
import signal
import struct
import subprocess
import time

from bench import Supervised, median, percentile, read, supervisors, wait_for

AT_ONCE = ["--restart-delay", "0", "--restart-limit", "0", "--crash-loop-limit", "0"]


def prefix(bench):
    """`X -- /bin/true`, whole call: from before vfork to after wait."""
    true = "/bin/true"
    commands = {
        "bare": [true],
        "limit": [bench.tools["limit"], "prefix", true],
        "watchdog": [bench.watchdog, "--", true],
        "watchdog --control off": [bench.watchdog, "--control", "off", "--", true],
    }
    for name in ("tini", "dumb-init", "catatonit"):
        if name in bench.peers:
            commands[name] = [bench.peers[name], *(["-s"] if name == "tini" else []), "--", true]
    lines = bench.path("prefix", "commands")
    with open(lines, "w") as file:
        file.writelines(" ".join(c) + "\n" for c in commands.values())
    rounds = 300 if bench.quick else 3000
    done = subprocess.run(
        [bench.tools["stopwatch"], str(rounds), lines], env=bench.env, stdout=subprocess.PIPE, text=True, check=True
    )
    times = {name: [] for name in commands}
    names = list(commands)
    for line in done.stdout.splitlines():
        which, nanos, status = line.split()
        if status != "0":
            raise SystemExit(f"bench: {names[int(which)]} ended with status {status}")
        times[names[int(which)]].append(int(nanos) / 1000)
    bare50, bare95 = percentile(times["bare"], 0.5), percentile(times["bare"], 0.95)
    return {
        name: {"p50": percentile(t, 0.5), "p95": percentile(t, 0.95), "added": percentile(t, 0.5) - bare50,
               "added95": percentile(t, 0.95) - bare95}
        for name, t in times.items()
    }


def footprint(pid):
    """KiB that only this process has, what of that it can write to, and its fair share of everything."""
    fields = {}
    for line in read(f"/proc/{pid}/smaps_rollup").splitlines()[1:]:
        key, value = line.split(":")
        fields[key] = int(value.split()[0])
    writable, in_writable = 0, False
    for line in read(f"/proc/{pid}/smaps").splitlines():
        words = line.split()
        if words and "-" in words[0] and not words[0].endswith(":"):
            in_writable = "w" in words[1]
        elif in_writable and words[0] in ("Private_Clean:", "Private_Dirty:"):
            writable += int(words[1])
    private = fields.get("Private_Clean", 0) + fields.get("Private_Dirty", 0)
    return {"private": private, "writable": writable, "pss": fields.get("Pss", 0)}


def wakeups(pid):
    for line in read(f"/proc/{pid}/status").splitlines():
        if line.startswith("voluntary_ctxt_switches"):
            return int(line.split()[1])
    return 0


def cpu_times():
    """Ticks of all processors: in all, and idle or waiting for a disk."""
    ticks = [int(w) for w in read("/proc/stat").split("\n", 1)[0].split()[1:9]]
    return sum(ticks), ticks[3] + ticks[4]


def idle(bench):
    """One worker that does nothing, nothing asked for; all supervisors side by side in the same minute."""
    names = ["watchdog", "limit", "tini", "dumb-init", "catatonit", "runsv", "s6-supervise", "supervisord"]
    told = supervisors(bench, "idle", bench.tools["worker"], {}, names)
    running = [Supervised(name, *told[name]) for name in names if name in told]
    seconds = 10 if bench.quick else 60
    try:
        time.sleep(3)
        before, work = {s.name: wakeups(s.pid) for s in running}, cpu_times()
        time.sleep(seconds)
        later = cpu_times()
        # Nobody here does anything, so whatever the processors did was somebody else's.
        found = {"busy": 1 - (later[1] - work[1]) / max(1, later[0] - work[0])}
        for s in running:
            children = read(f"/proc/{s.pid}/task/{s.pid}/children").split()
            s.worker = int(children[0]) if children else None
            if not s.worker:
                bench.say(f"  {s.name}: has no worker, left out")
                continue
            found[s.name] = dict(footprint(s.pid), wakeups=(wakeups(s.pid) - before[s.name]) / seconds)
        return found
    finally:
        for s in running:
            s.end()


def settled(bench):
    """SIGKILL of a worker that has run for a while, to the next main(). All supervisors live; one is hit at a time."""
    names = ["watchdog", "limit", "runsv", "s6-supervise", "supervisord"]
    names = [n for n in names if n in ("watchdog", "limit") or n in bench.peers]
    pipes = {}
    for name in names:
        path = bench.path("settled", "pipes", name)
        os.mkfifo(path)
        pipes[name] = os.open(path, os.O_RDWR)
    env = {"BENCH_PIPE": bench.path("settled", "pipes", "@")}
    told = supervisors(bench, "settled", bench.tools["worker"], env, names, AT_ONCE)
    running = {}
    times = {name: [] for name in names}
    rounds = 10 if bench.quick else 40
    try:
        for name in names:
            running[name] = Supervised(name, *told[name])
            running[name].worker, _ = note(pipes[name], 10)
        for _ in range(rounds):
            # runsv and supervisord treat a run of less than a second as a failed start.
            time.sleep(1.3)
            random.shuffle(names)
            for name in names:
                time.sleep(0.02)
                begin = time.monotonic_ns()
                os.kill(running[name].worker, signal.SIGKILL)
                running[name].worker, at_main = note(pipes[name], 10)
                times[name].append((at_main - begin) / 1000)
        return {n: spread(t) for n, t in times.items()}
    finally:
        for s in running.values():
            s.end()
        for fd in pipes.values():
            os.close(fd)


def spread(times):
    return {"p10": percentile(times, 0.1), "p50": percentile(times, 0.5), "p95": percentile(times, 0.95), "n": len(times)}


def note(fd, seconds):
    """The next note of a worker: its pid and the time it came to main."""
    ready, _, _ = select.select([fd], [], [], seconds)
    if not ready:
        raise SystemExit("bench: a worker did not come back in time")
    return struct.unpack("QQ", os.read(fd, 16))


def crash_loop(bench):
    """A worker that dies as soon as it is there: from its death to the next main(), least delay the tool allows."""
    names = ["watchdog", "limit", "runsv", "s6-supervise", "supervisord"]
    names = [n for n in names if n in ("watchdog", "limit") or n in bench.peers]
    room = 100_000
    times = {name: [] for name in names}
    fast = {"watchdog", "limit"}
    for turn in range(3 if bench.quick else 10):
        order = [n for n in names if n in fast or turn == 0]
        random.shuffle(order)
        for name in order:
            path = bench.path("crash", f"notes-{name}-{turn}")
            with open(path, "wb") as file:
                file.truncate(8 + 16 * room)
            env = {"BENCH_FILE": path}
            told = supervisors(bench, f"crash-{turn}", bench.tools["worker"], env, [name], AT_ONCE, one_shot=True)
            s = Supervised(name, *told[name])
            time.sleep(1.0 if name in fast else 6.5)
            s.end()
            with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
                count = min(room, struct.unpack_from("Q", data, 0)[0])
                # The last ones may not have been written to their end.
                notes = [struct.unpack_from("QQ", data, 8 + 16 * i) for i in range(max(0, count - 2))]
            # The first few are cold.
            skip = 20 if name in fast else 0
            times[name] += [(b[0] - a[1]) / 1000 for a, b in zip(notes[skip:], notes[skip + 1:])]
            os.unlink(path)
    return {n: spread(t) for n, t in times.items() if t}


def storm(bench):
    """2000 orphans die at once below PID 1 of a new pid namespace: how many zombies are left after two seconds."""
    names = ["watchdog", "tini", "dumb-init", "catatonit", "runsv", "s6-supervise", "supervisord"]
    unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if os.geteuid() != 0:
        unshare[1:1] = ["--user", "--map-root-user"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode != 0:
        bench.say("  no new pid namespace to be had here: left out")
        return {}
    found = {}
    for name in names:
        out = bench.path("storm", f"out-{name}")
        env = {"BENCH_STORM": "2000", "BENCH_OUT": out}
        told = supervisors(bench, "storm", bench.tools["storm"], env, [name])
        if name not in told:
            continue
        command, full, cwd = told[name]
        s = Supervised(name, [*unshare, *command], full, cwd)
        wait_for(lambda: read(out).count(" ") == 1 and read(out).endswith("\n"), 60)
        s.end(signal.SIGKILL)
        words = read(out).split()
        if len(words) == 2:
            found[name] = {"orphans": int(words[0]), "zombies": int(words[1])}
        else:
            bench.say(f"  {name}: no answer within a minute")
    return found


def throughput(bench):
    """Lines through stdout to a reader that compares every byte; for `capture` there is no reader, the writer's time counts."""
    flood, mib = bench.tools["flood"], 256 if bench.quick else 512
    slow_mib = 64 if bench.quick else 128

    def piped(command):
        return lambda size: through_pipe(bench, [*command, flood, "write", str(size)], size)

    watchdog = [bench.watchdog]
    cases = {
        "bare pipe": (piped([]), mib),
        "watchdog --log inherit": (piped([*watchdog, "--log", "inherit", "--"]), mib),
        "watchdog --log tee": (piped([*watchdog, "--log", "tee", "--"]), mib),
        "watchdog --log capture": (lambda size: captured(bench, [*watchdog, "--log", "capture", "--"], size), mib),
        "watchdog --log tee --log-file": (
            piped([*watchdog, "--log", "tee", "--log-file", bench.path("flood", "log"), "--log-keep", "1", "--"]),
            slow_mib,
        ),
    }
    if "tini" in bench.peers:
        cases["tini"] = (piped([bench.peers["tini"], "-s", "--"]), mib)
    if "supervisord" in bench.peers:
        cases["supervisord, logged to its stdout"] = (lambda size: supervisord_flood(bench, size), slow_mib)
    rates = {name: [] for name in cases}
    exact = {name: True for name in cases}
    # Where the scheduler puts the two ends decides between two speeds: many short rounds rather than few long ones.
    for _ in range(5 if bench.quick else 15):
        order = list(cases)
        random.shuffle(order)
        for name in order:
            measure, size = cases[name]
            rate, complete = measure(size)
            rates[name].append(rate)
            exact[name] = exact[name] and complete
    return {name: {"mib_s": median(r), "exact": exact[name]} for name, r in rates.items()}


def through_pipe(bench, command, mib, cwd=None, stop=False):
    out = bench.path("flood", "read")
    if os.path.exists(out):
        os.unlink(out)
    read_end, write_end = os.pipe()
    reader = subprocess.Popen([bench.tools["flood"], "read", out], stdin=read_end)
    null = subprocess.DEVNULL
    writer = subprocess.Popen(command, env=bench.env, stdin=null, stdout=write_end, stderr=null, cwd=cwd)
    os.close(read_end)
    os.close(write_end)
    if stop:
        # A daemon keeps the pipe: it is ended when the worker says that it has written everything, and a little later.
        wait_for(lambda: read(stop), 120)
        time.sleep(0.5)
        writer.send_signal(signal.SIGTERM)
    writer.wait()
    reader.wait()
    count, nanos, wrong = (int(w) for w in read(out).split())
    if stop:
        nanos = int(read(stop))
    return count / (1 << 20) / (max(nanos, 1) / 1e9), count == mib << 20 and wrong == 0


def captured(bench, command, mib):
    out = bench.path("flood", "written")
    if os.path.exists(out):
        os.unlink(out)
    command = [*command, bench.tools["flood"], "write", str(mib), out]
    null = subprocess.DEVNULL
    subprocess.run(command, env=bench.env, stdin=null, stdout=null, stderr=null, check=True)
    return mib / (int(read(out)) / 1e9), True


def supervisord_flood(bench, mib):
    """Its usual form in a container: stdout_logfile=/dev/fd/1."""
    done, config = bench.path("flood", "supervisord-done"), bench.path("flood", "supervisord.conf")
    if os.path.exists(done):
        os.unlink(done)
    with open(config, "w") as file:
        file.write(
            f"[supervisord]\nnodaemon=true\nsilent=true\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile={config}.pid\n"
            f"user={'root' if os.geteuid() == 0 else ''}\n[program:worker]\nstartsecs=0\nautorestart=false\n"
            f"command={bench.tools['flood']} write {mib} {done}\n"
            "stdout_logfile=/dev/fd/1\nstdout_logfile_maxbytes=0\nstderr_logfile=NONE\n"
        )
    command = [bench.peers["supervisord"], "-c", config]
    return through_pipe(bench, command, mib, os.path.dirname(config), done)
