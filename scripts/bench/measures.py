"""The measures. Each gives a plain dictionary: tool -> numbers, in microseconds, KiB or MiB/s."""

import mmap
import os
import random
import select
import signal
import struct
import subprocess
import time

from bench import AT_ONCE, BEFORE, Supervised, busy_since, cpu_times, median, percentile, read, supervisors, wait_for

# Those that restart, in the order of the tables.
RESTARTING = ("runsv", "s6-supervise", "supervise", "supervisord")


def binary(bench):
    """Bytes of the binary, without symbols."""
    return {name: {"bytes": os.path.getsize(path)} for name, path in bench.binaries.items()}


def prefix(bench):
    """`X -- /bin/true`, whole call: from before vfork to after wait; and its own page faults, in runs of their own."""
    true = "/bin/true"
    commands = {"bare": [true], "limit": [bench.tools["limit"], "prefix", true]}
    commands |= {name: [path, "--", true] for name, path in bench.binaries.items()}
    commands["watchdog --control off"] = [bench.watchdog, "--control", "off", "--", true]
    for name in ("tini", "dumb-init", "catatonit"):
        if name in bench.peers:
            commands[name] = [bench.peers[name], *(["-s"] if name == "tini" else []), "--", true]
    lines = bench.path("prefix", "commands")
    with open(lines, "w") as file:
        file.writelines(" ".join(c) + "\n" for c in commands.values())
    times = stopwatch(bench, "times", 300 if bench.quick else 2500, lines, list(commands))
    faults = stopwatch(bench, "faults", 20 if bench.quick else 100, lines, list(commands))
    bare50, bare95 = percentile(times["bare"], 0.5), percentile(times["bare"], 0.95)
    return {
        name: {"p50": percentile(t, 0.5) / 1000, "p95": percentile(t, 0.95) / 1000,
               "added": (percentile(t, 0.5) - bare50) / 1000, "added95": (percentile(t, 0.95) - bare95) / 1000,
               "faults": median(faults[name])}
        for name, t in times.items()
    }


def stopwatch(bench, what, rounds, lines, names):
    """Numbers of each command, by its name."""
    command = [bench.tools["stopwatch"], what, str(rounds), lines]
    done = subprocess.run(command, env=bench.env, stdout=subprocess.PIPE, text=True, check=True)
    found = {name: [] for name in names}
    for line in done.stdout.splitlines():
        which, number, status = line.split()
        if status != "0":
            raise SystemExit(f"bench: {names[int(which)]} ended with status {status}")
        found[names[int(which)]].append(int(number))
    return found


def footprint(pid):
    """KiB that only this process has, its fair share of everything, and what of that is no file's."""
    fields = {}
    for line in read(f"/proc/{pid}/smaps_rollup").splitlines()[1:]:
        key, value = line.split(":")
        fields[key] = int(value.split()[0])
    private = fields.get("Private_Clean", 0) + fields.get("Private_Dirty", 0)
    return {"private": private, "anonymous": fields.get("Anonymous", 0), "pss": fields.get("Pss", 0)}


def wakeups(pid):
    for line in read(f"/proc/{pid}/status").splitlines():
        if line.startswith("voluntary_ctxt_switches"):
            return int(line.split()[1])
    return 0


def idle(bench):
    """One worker that does nothing, nothing asked for; all supervisors side by side in the same minute."""
    names = [*bench.binaries, "limit", "tini", "dumb-init", "catatonit", *RESTARTING]
    told = supervisors(bench, "idle", bench.tools["worker"], {}, names)
    running = [Supervised(name, *told[name]) for name in names if name in told]
    seconds = 10 if bench.quick else 60
    try:
        time.sleep(3)
        before, work = {s.name: wakeups(s.pid) for s in running}, cpu_times()
        time.sleep(seconds)
        # Nothing here does anything, so whatever the processors did was something else.
        found = {"busy": busy_since(work)}
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


def restarting(bench):
    """Those that restart and are there."""
    return [*bench.binaries, "limit", *(n for n in RESTARTING if n in bench.peers)]


def settled(bench):
    """SIGKILL of a worker that has run for a while, to the next main(). All supervisors live; one is hit at a time."""
    names = restarting(bench)
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
        for turn in range(rounds):
            # runsv, supervise and supervisord treat a run of less than a second as a failed start.
            time.sleep(1.3)
            random.shuffle(names)
            for name in names:
                # These two wait a second whatever happens: a few rounds say it.
                if turn % 4 and name in ("s6-supervise", "supervisord"):
                    continue
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
    names = restarting(bench)
    room = 100_000
    times = {name: [] for name in names}
    fast = {*bench.binaries, "limit"}
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
    names = [*bench.binaries, "tini", "dumb-init", "catatonit", *RESTARTING]
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
    flood, mib = bench.tools["flood"], 128 if bench.quick else 384
    slow_mib = 32 if bench.quick else 96

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
    if BEFORE in bench.binaries:
        for way in ("inherit", "tee"):
            cases[f"{BEFORE} --log {way}"] = (piped([bench.binaries[BEFORE], "--log", way, "--"]), mib)
    if "tini" in bench.peers:
        cases["tini"] = (piped([bench.peers["tini"], "-s", "--"]), mib)
    if "catatonit" in bench.peers:
        cases["catatonit"] = (piped([bench.peers["catatonit"], "--"]), mib)
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
