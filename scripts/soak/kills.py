#!/usr/bin/env python3
"""Random kills of workers and watchdogs in PID namespaces: each exit is told once, generations do not overlap, nothing is left.

    scripts/soak.sh --kills [N] [SEED]     (default 2000)

Half of the rounds have the watchdog as PID 1, half as the child of another PID 1. A round kills the worker again and again at
random moments, also in the middle of a start, and ends the watchdog: by KILL, or by TERM. Needs root.
"""
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time

WAIT = 30.0  # seconds for a state that has to come; a bound, not a measurement
KILLS_OF_A_ROUND = 40

# The worker of a round: one process, or a tree with a child in a session of its own, or one that ignores TERM.
ALONE = ["sleep", "1000"]
TREE = ["sh", "-c", "setsid sleep 1000 & sleep 1000 & exec sleep 1000"]
DEAF = ["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"]
QUICK = ["sh", "-c", "sleep 0.0$(($$ % 10)); exit 1"]


def command(binary, events, worker, stop_timeout):
    return [binary, "--name", "kills", "--control", "off", "--report-dir", "off", "--events-file", events,
            "--restart", "always", "--restart-delay", "0s", "--restart-limit", "0", "--crash-loop-limit", "0",
            "--stop-timeout", stop_timeout, "--log-level", "error", "--", *worker]


def read_events(path):
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in data[:data.rfind(b"\n") + 1].splitlines()]


def until(what, condition):
    """The first value of the condition that is true; fails after a generous time."""
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.002)
    raise AssertionError(f"{what} did not come within {WAIT:.0f} s")


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
        return 1
    except ProcessLookupError:
        return 0


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(p) for p in file.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def check_events(events, killed):
    """Every spawn has exactly one exit behind it and before the next spawn; the last may lack it where the watchdog was killed."""
    alive, exits = None, 0
    for event in events:
        if event["event"] == "spawn":
            assert alive is None, f"generation {event['generation']} was started beside {alive}"
            alive = event["generation"]
        elif event["event"] == "exit":
            assert alive == event["generation"], f"exit of generation {event['generation']}, {alive} was running"
            alive, exits = None, exits + 1
        elif event["event"] == "stuck":
            raise AssertionError(f"stuck: {event}")
    assert killed or alive is None, f"generation {alive} has no exit"
    return exits


def harass(watchdog, rng, wanted):
    """Kills children of the watchdog at random moments, each once."""
    killed = set()
    end = time.monotonic() + 10 * WAIT
    while len(killed) < wanted:
        assert time.monotonic() < end, f"{len(killed)} kills of {wanted}, then nothing to kill"
        time.sleep(rng.choice([0, 0.0005, 0.002, 0.01, 0.03]) * rng.random())
        for pid in [p for p in children(watchdog) if p not in killed][:1]:
            if kill(pid):
                killed.add(pid)
    return len(killed)


def nothing_left(namespace):
    def gone():
        return not [p for p in os.listdir("/proc") if p.isdigit() and namespace_of(p) == namespace]
    until("an empty namespace", gone)


def namespace_of(pid):
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return None


def round_as_pid_1(binary, directory, rng, wanted):
    events = os.path.join(directory, "events")
    worker = rng.choice([ALONE, TREE, DEAF, QUICK])
    process = subprocess.Popen(["unshare", "--pid", "--fork", "--mount-proc", "--", *command(binary, events, worker, "1s")],
                               stdin=subprocess.DEVNULL)
    try:
        watchdog = until("the watchdog", lambda: next(iter(children(process.pid)), 0))
        until("the first start", lambda: [e for e in read_events(events) if e["event"] == "spawn"])
        namespace = namespace_of(watchdog)
        kills = harass(watchdog, rng, wanted)
        how = rng.choice([signal.SIGKILL, signal.SIGTERM])
        os.kill(watchdog, how)
        process.wait(WAIT)
        nothing_left(namespace)
        exits = check_events(read_events(events), how == signal.SIGKILL)
        return kills + (how == signal.SIGKILL), exits
    finally:
        for pid in children(process.pid):
            kill(pid)
        process.kill()
        process.wait()


def round_as_child(binary, directory, rng, wanted):
    """The same below another PID 1, which is this script and counts what is left when the watchdog is gone."""
    seed, events = rng.random(), os.path.join(directory, "events")
    out = subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "--", sys.executable, __file__, "--inside",
                          binary, events, repr(seed), str(wanted)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=20 * WAIT)
    assert out.returncode == 0, f"a round below another PID 1 ended with {out.returncode}"
    kills, killed = json.loads(out.stdout)
    return kills + killed, check_events(read_events(events), killed)


def inside(binary, events, seed, wanted):
    rng = random.Random(seed)
    # Ends by itself if something hangs: nothing else can end PID 1 of this namespace from inside.
    signal.signal(signal.SIGALRM, lambda *_: os._exit(3))
    signal.alarm(int(15 * WAIT))
    # A tree outlives a KILL of a watchdog that is not PID 1 and has no control group: that is promised to no one.
    how = rng.choice([signal.SIGKILL, signal.SIGTERM])
    worker = rng.choice([ALONE, QUICK] if how == signal.SIGKILL else [ALONE, TREE, DEAF, QUICK])
    watchdog = subprocess.Popen(command(binary, events, worker, "1s"), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    until("the first start", lambda: [e for e in read_events(events) if e["event"] == "spawn"])
    kills = harass(watchdog.pid, rng, wanted)
    watchdog.send_signal(how)
    watchdog.wait(WAIT)

    def alone():
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
            return False
        except ChildProcessError:
            return True
    until("the end of all that the watchdog started", alone)
    print(json.dumps([kills, how == signal.SIGKILL]))


def main():
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(1 << 32)
    binary = os.path.realpath(os.environ.get("WATCHDOG_BIN", "target/release/watchdog"))
    if os.geteuid() != 0:
        print("SKIPPED: PID namespaces need root")
        return
    if not os.access(binary, os.X_OK):
        sys.exit(f"soak: no binary at {binary}: cargo build --release, or set WATCHDOG_BIN")
    rng, kills, exits, rounds = random.Random(seed), 0, 0, 0
    print(f"soak: seed {seed}")
    while kills < total:
        with tempfile.TemporaryDirectory() as directory:
            play = round_as_pid_1 if rounds % 2 == 0 else round_as_child
            more, told = play(binary, directory, rng, min(KILLS_OF_A_ROUND, total - kills))
            kills, exits, rounds = kills + more, exits + told, rounds + 1
    print(f"soak: {kills} kills in {rounds} namespaces, {exits} exits told once each, nothing left")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        inside(sys.argv[2], sys.argv[3], float(sys.argv[4]), int(sys.argv[5]))
    else:
        main()
