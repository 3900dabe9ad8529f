"""Many services in one supervisor: how each one is told of them, and one life of it with its numbers. For scripts/bench/scale."""

import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

import bench as ground
from bench import BEFORE, OURS, ROOT, median, read

NULL = subprocess.DEVNULL
PATIENCE = 60
# What is said of each service where the limit of descriptors does not allow the default form of so many.
LEAN = 'log = "inherit"\ndialects = ["native"]\n'
# Peer, its command, the package it comes from, and how many services it is asked for at most: one of a process per service is not asked
# for more than anybody would, and svscan is built for a thousand.
PEERS = [("s6", "s6-svscan", "s6", 1000), ("runit", "runsvdir", "runit", 1000), ("daemontools", "svscan", "daemontools", 1000),
         ("supervisord", "supervisord", "supervisor", 1000)]


class Fifo:
    """Workers say their pids here."""

    def __init__(self, path):
        os.mkfifo(path)
        self.fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self.poll = select.poll()
        self.poll.register(self.fd, select.POLLIN)

    def pids(self, count, until):
        """So many pids, or those that came in time."""
        found, rest = [], b""
        while len(found) < count and time.monotonic() < until:
            if not self.poll.poll(200):
                continue
            rest += os.read(self.fd, 65536)
            whole = len(rest) // 4 * 4
            found += [n for (n,) in struct.iter_unpack("i", rest[:whole])]
            rest = rest[whole:]
        return found

    def drain(self):
        while self.poll.poll(0):
            os.read(self.fd, 65536)


class Gone:
    """Tells when processes are gone."""

    def __init__(self, pids):
        self.fds = {}
        self.poll = select.poll()
        for pid in pids:
            try:
                fd = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            self.fds[fd] = pid
            self.poll.register(fd, select.POLLIN)

    def wait(self, until):
        left = len(self.fds)
        while left and time.monotonic() < until:
            for fd, _ in self.poll.poll(200):
                self.poll.unregister(fd)
                left -= 1
        for fd in self.fds:
            os.close(fd)
        return left


def tree(pid):
    """A process and its descendants."""
    found, todo = [], [pid]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += [int(p) for p in read(f"/proc/{pid}/task/{pid}/children").split()]
    return found


def born(pid):
    """When it began: with its number, which process it is."""
    words = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return words[19] if len(words) > 19 else None


def end_all(known):
    """Ends processes by number, each only if it is still the one that was known."""
    for pid, begin in known.items():
        if begin and born(pid) == begin:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


def pss(pids):
    total = 0
    for pid in pids:
        for line in read(f"/proc/{pid}/smaps_rollup").splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total


def cpu(pids):
    """Milliseconds that they have used."""
    return sum(int((read(f"/proc/{pid}/schedstat").split() or ["0"])[0]) for pid in pids) / 1e6


class Setup:
    """How each supervisor is told to run so many of the same program."""

    def __init__(self, run, folder, tiny):
        self.run, self.folder, self.tiny = run, folder, tiny
        self.peers = [(name, most) for name, command, _, most in PEERS if shutil.which(command)]
        self.missing = [package for _, command, package, _ in PEERS if not shutil.which(command)]

    def names(self, count, lean):
        return [*self.run.binaries, "limit", *(name for name, most in self.peers if count <= most and not lean)]

    def fast(self, name):
        return name in self.run.binaries or name == "limit"

    def fresh(self, name):
        path = os.path.join(self.folder, name)
        shutil.rmtree(path, ignore_errors=True)
        os.makedirs(path)
        return path

    def command(self, name, count, lean):
        """(command, directory)"""
        if name in self.run.binaries:
            home = self.fresh("watchdog")
            return self.watchdog(name, self.file(home, count, more=LEAN if lean else "")), home
        return getattr(self, name)(count)

    def watchdog(self, name, path):
        return [self.run.binaries[name], "up", "-f", path, "--log-level", "error", "--output", "none"]

    def file(self, home, count, more="", top="", program=None, first=""):
        """A file with so many services. `more` is said of each, @ is its number; `first` of the first one."""
        path = os.path.join(home, "watchdog.toml")
        with open(path, "w") as file:
            file.write(f'[watchdog]\nname = "scale"\nreport_dir = "off"\n{top}')
            file.write('[defaults]\nrestart_delay = "0s"\nrestart_limit = 0\ncrash_loop_limit = 0\n')
            for n in range(count):
                file.write(f'[service.s{n}]\ncommand = ["{program or self.tiny}"]\n{first if n == 0 else ""}{more.replace("@", str(n))}')
        return path

    def limit(self, count):
        return [self.run.tools["many"], str(count), self.tiny], self.fresh("limit")

    def s6(self, count):
        home = self.fresh("s6")
        self.copies(home, count)
        return ["s6-svscan", "-c", str(count * 2 + 10), home], home

    def runit(self, count):
        home = self.fresh("runit")
        self.copies(home, count)
        return ["runsvdir", "-P", home], home

    def daemontools(self, count):
        home = self.fresh("daemontools")
        self.copies(home, count)
        return ["svscan", home], home

    def copies(self, home, count):
        for n in range(count):
            os.mkdir(os.path.join(home, f"s{n}"))
            os.link(self.tiny, os.path.join(home, f"s{n}", "run"))

    def supervisord(self, count):
        home = self.fresh("supervisord")
        path = os.path.join(home, "supervisord.conf")
        with open(path, "w") as file:
            file.write(
                f"[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile={home}/pid\n"
                f"childlogdir={home}\nminfds={count * 8 + 100}\nuser={'root' if os.geteuid() == 0 else ''}\n"
                f"[program:s]\ncommand={self.tiny}\nautorestart=true\nstartsecs=1\nstartretries=1000\n"
                f"numprocs={count}\nprocess_name=%(process_num)d\nstdout_logfile=NONE\nstderr_logfile=NONE\n"
            )
        return ["supervisord", "-c", path], home


def stop(name, process, home):
    if name == "s6":
        subprocess.run(["s6-svscanctl", "-t", home], stdout=NULL, stderr=NULL, check=False)
    elif name == "daemontools":
        # First the one that would start them again; each supervise then ends with its worker.
        process.send_signal(signal.SIGTERM)
        services = [os.path.join(home, entry) for entry in os.listdir(home) if entry.startswith("s")]
        subprocess.run(["svc", "-dx", *services], stdout=NULL, stderr=NULL, check=False)
    else:
        process.send_signal(signal.SIGHUP if name == "runit" else signal.SIGTERM)


def measure(setup, fifo, name, count, lean, idle):
    """One life of one supervisor with so many services. `idle`: seconds of idling to measure, or 0."""
    fifo.drain()
    command, home = setup.command(name, count, lean)
    # All but ours and the limit treat a run of less than a second as a failed start.
    settle = 0.4 if setup.fast(name) else 3 if name == "supervisord" else 1.5
    begin = time.monotonic()
    process = subprocess.Popen(command, env=setup.run.env, cwd=home, stdin=NULL, stdout=NULL, stderr=NULL, start_new_session=True)
    found, known = {}, {}
    try:
        pids = fifo.pids(count, begin + PATIENCE)
        found["start"] = time.monotonic() - begin if len(pids) == count else None
        time.sleep(settle)
        own = [p for p in tree(process.pid) if p not in set(pids)]
        known = {pid: born(pid) for pid in [*own, *pids]}
        found["pss"] = pss(own)
        if idle:
            before = cpu(own)
            time.sleep(idle)
            found["idle"] = (cpu(own) - before) / idle
        begin = time.monotonic()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        pids = fifo.pids(count, begin + PATIENCE)
        found["back"] = time.monotonic() - begin if len(pids) == count else None
        known |= {pid: born(pid) for pid in pids}
        time.sleep(settle / 2)
        gone = Gone([*pids, *own])
        begin = time.monotonic()
        stop(name, process, home)
        found["stop"] = time.monotonic() - begin if gone.wait(begin + PATIENCE) == 0 else None
    finally:
        end_all(known | {pid: born(pid) for pid in tree(process.pid)[1:]})
        process.kill()
        process.wait()
    late = [key for key in ("start", "back", "stop") if found.get(key) is None]
    if late:
        setup.run.say(f"  {name}, {count} services: not within {PATIENCE} s: {', '.join(late)}")
    return found


class Up:
    """A running watchdog with a file of services; ended whatever happens."""

    def __init__(self, setup, name, path):
        self.setup, self.name = setup, name
        home = os.path.dirname(path)
        self.process = subprocess.Popen(setup.watchdog(name, path), env=setup.run.env, cwd=home, stdin=NULL, stdout=NULL, stderr=NULL,
                                        start_new_session=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        known = {pid: born(pid) for pid in tree(self.process.pid)[1:]}
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        end_all(known)

    @property
    def pid(self):
        return self.process.pid

    def verb(self, *words):
        command = [self.setup.run.binaries[self.name], *words, "-i", "scale"]
        return subprocess.Popen(command, env=self.setup.run.env, stdin=NULL, stdout=subprocess.PIPE, stderr=NULL)


def verbs(setup, fifo, name, count, lean):
    """`status`, `/metrics` and the reload of one changed service, in seconds, medians of a few."""
    fifo.drain()
    home, times, size = setup.fresh("verbs"), 2 if setup.run.quick else 5, 0
    address = os.path.join(home, "http")
    more = {"top": f'http = "unix:{address}"\n', "more": LEAN if lean else ""}
    found = {key: [] for key in ("status", "metrics", "metrics again", "metrics cpu", "reload")}
    with Up(setup, name, setup.file(home, count, **more)) as dog:
        if len(fifo.pids(count, time.monotonic() + PATIENCE)) < count:
            setup.run.say(f"  {name}, {count} services: not up for the verbs")
            return {}
        time.sleep(0.5)
        for turn in range(times):
            begin = time.monotonic()
            client = dog.verb("status")
            told = heard(client)
            found["status"].append(time.monotonic() - begin)
            if told.count(b"\n") < count:
                setup.run.say(f"  {name}: status shows {told.count(bytes([10]))} lines of {count} services")
            if turn == 0 or size:
                # What was measured within the same second is not measured again.
                time.sleep(1.1)
                before = cpu([dog.pid])
                taken, size = scrape(address)
                found["metrics"].append(taken)
                found["metrics cpu"].append((cpu([dog.pid]) - before) / 1000)
            if size:
                found["metrics again"].append(scrape(address)[0])
            setup.file(home, count, **more, first=f'env = {{ TURN = "{turn}" }}\n')
            fifo.drain()
            begin = time.monotonic()
            client = dog.verb("reload")
            pids = fifo.pids(1, begin + PATIENCE)
            if pids:
                found["reload"].append(time.monotonic() - begin)
            heard(client)
            time.sleep(0.2)
            others = len(fifo.pids(1, time.monotonic() + 0.1))
            if others:
                setup.run.say(f"  {name}: a reload of one service restarted others too")
    result = {key: median(values) for key, values in found.items()} | {"metrics bytes": size}
    if size == 0:
        setup.run.say(f"  {name}, {count} services: /metrics is empty after {result['metrics']:.1f} s")
        result["metrics"] = None
    return result


def heard(client):
    """What a client says, which is not waited for without end."""
    try:
        return client.communicate(timeout=PATIENCE)[0]
    except subprocess.TimeoutExpired:
        client.kill()
        client.communicate()
        return b""


def scrape(address):
    """(seconds, bytes) of one GET /metrics."""
    begin, size = time.monotonic(), 0
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(address)
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        while True:
            part = client.recv(1 << 20)
            if not part:
                return time.monotonic() - begin, size
            size += len(part)


def beating(setup, count):
    """CPU with a beat each second for all, and with a probe for all; milliseconds per second."""
    ground.built_by(["cargo", "build", "--quiet", "--release", "-p", "worker-sdk", "--example", "pulse"], ROOT, os.environ)
    about = json.loads(ground.run_text(["cargo", "metadata", "--no-deps", "--format-version", "1"], cwd=ROOT))
    pulse = os.path.join(about["target_directory"], "release", "examples", "pulse")
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    port = listener.getsockname()[1]
    threading.Thread(target=accept, args=(listener,), daemon=True).start()
    beats = 'heartbeat_interval = "1s"\n'
    cases = [
        ("beats, 1 s", OURS, beats, pulse), ("beats, 1 s", BEFORE, beats, pulse),
        ("probe, 10 s", OURS, f'probe = "tcp://127.0.0.1:{port}"\n', None),
        ("probe, 1 s", OURS, f'[[service.s@.probe]]\ncheck = "tcp://127.0.0.1:{port}"\ninterval = "1s"\n', None),
    ]
    found, seconds = {}, 4 if setup.run.quick else 10
    try:
        for label, name, more, program in cases:
            if name not in setup.run.binaries:
                continue
            setup.run.say(f"{count} services: {label}: {name}")
            path = setup.file(setup.fresh("beats"), count, more=more, program=program)
            with Up(setup, name, path) as dog:
                time.sleep(6)
                before = cpu([dog.pid])
                time.sleep(seconds)
                found.setdefault(label, {})[name] = (cpu([dog.pid]) - before) / seconds
    finally:
        listener.close()
    return found


def accept(listener):
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        connection.close()
