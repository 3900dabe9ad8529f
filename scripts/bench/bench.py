"""Common ground of the benchmarks: building, finding the peers, numbers. Python's standard library only."""

import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
# Command name, how its version is asked, the package it is measured from. The order is that of the tables.
PEERS = [
    ("tini", "tini"),
    ("dumb-init", "dumb-init"),
    ("catatonit", "catatonit"),
    ("runsv", "runit"),
    ("s6-supervise", "s6"),
    ("supervise", "daemontools"),
    ("supervisord", "supervisor"),
]
# The tools that are ours: this one, and an earlier one beside it if --before names it.
OURS, BEFORE = "watchdog", "watchdog before"
# The least pause that can be had, and no end of tries.
AT_ONCE = ["--restart-delay", "0", "--restart-limit", "0", "--crash-loop-limit", "0"]


def in_memory():
    """Where sockets are: /run is a file system in memory wherever systemd starts the machine. Where it is none, as in many containers,
    another one takes its place: what a file system on a disk does to make a name is no matter of a supervisor."""
    usual = "/run" if os.geteuid() == 0 else os.environ.get("XDG_RUNTIME_DIR", "/tmp")
    kinds = {place: file_system(place) for place in (usual, "/dev/shm")}
    return next((place for place, kind in kinds.items() if kind == "tmpfs"), usual)


class Bench:
    """One run: what is measured, where its files are, how long it may take."""

    def __init__(self, quick, before=None, before_commit=None):
        self.quick = quick
        self.begun = time.monotonic()
        self.dir = tempfile.mkdtemp(prefix="watchdog-bench-")
        self.runtime = os.path.join(in_memory(), f"watchdog-bench-{os.getpid()}")
        try:
            self.prepare(before, before_commit)
        except BaseException:
            self.close()
            raise

    def prepare(self, before, before_commit):
        self.peers = {name: shutil.which(name) for name, _ in PEERS}
        self.peers = {name: path for name, path in self.peers.items() if path}
        self.tools = build_tools(os.path.join(self.dir, "tools"))
        self.commit, self.dirty = run_text(["git", "rev-parse", "HEAD"], cwd=ROOT).strip() or "unknown", bool(changed_files())
        binary, self.built = build_watchdog()
        # Copies side by side: the same file system and the same state of the page cache for all that is ours.
        self.binaries = {OURS: stripped(binary, self.path("watchdog", "watchdog"))}
        self.before = None
        if before:
            binary, commit = earlier(before, before_commit, os.path.join(self.dir, "before"))
            self.binaries[BEFORE] = stripped(binary, self.path("before-binary", "watchdog"))
            self.before = {"commit": commit, "bytes": os.path.getsize(self.binaries[BEFORE])}
        self.watchdog = self.binaries[OURS]
        self.env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/", "LANG": "C"}
        os.mkdir(self.runtime, 0o700)
        self.env["WATCHDOG_RUNTIME_DIR"] = self.runtime
        self.env["XDG_STATE_HOME"] = self.path("state", "")

    def close(self):
        shutil.rmtree(self.dir, ignore_errors=True)
        for path in (self.runtime, self.runtime + "-notify"):
            shutil.rmtree(path, ignore_errors=True)

    def path(self, *names):
        path = os.path.join(self.dir, *names)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    def say(self, text):
        print(text, file=sys.stderr, flush=True)


class Supervised:
    """A supervisor that runs one worker; ended by pid, together with the worker."""

    def __init__(self, name, command, env, cwd=None):
        self.name = name
        self.worker = None
        null = subprocess.DEVNULL
        self.process = subprocess.Popen(
            command, env=env, cwd=cwd, stdin=null, stdout=null, stderr=null, start_new_session=True
        )

    @property
    def pid(self):
        return self.process.pid

    def end(self, by=None):
        """The limit does not listen; `unshare` does not either, and its child dies with it (--kill-child)."""
        self.process.send_signal(by or (signal.SIGKILL if self.name == "limit" else signal.SIGTERM))
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.worker:
            try:
                os.kill(self.worker, signal.SIGKILL)
            except ProcessLookupError:
                pass


def supervisors(bench, label, program, env, names, watchdog_flags=(), one_shot=False):
    """How each of `names` is told to run `program` again and again: name -> (command, environment, directory)."""
    told = {}
    for name in names:
        full = dict(bench.env, **{k: v.replace("@", name) for k, v in env.items()})
        if name in bench.binaries:
            told[name] = ([bench.binaries[name], *watchdog_flags, "--", program], full, None)
        elif name == "limit":
            told[name] = ([bench.tools["limit"], "respawn", program], full, None)
        elif name == "limit once":
            told[name] = ([bench.tools["limit"], "prefix", program], full, None)
        elif name in ("tini", "dumb-init", "catatonit") and name in bench.peers:
            flags = ["-s"] if name == "tini" else []
            told[name] = ([bench.peers[name], *flags, "--", program], full, None)
        elif name in ("runsv", "s6-supervise", "supervise") and name in bench.peers:
            # The program itself is the run file: no shell in between, which is the best that can be asked of them.
            run = bench.path(label, name, "run")
            shutil.copy2(program, run)
            told[name] = ([bench.peers[name], os.path.dirname(run)], full, None)
        elif name == "supervisord" and name in bench.peers:
            config = bench.path(label, name, "supervisord.conf")
            home = os.path.dirname(config)
            with open(config, "w") as file:
                file.write(
                    f"[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile={home}/pid\n"
                    f"childlogdir={home}\nuser={'root' if os.geteuid() == 0 else ''}\n"
                    f"[program:worker]\ncommand={program}\nautorestart=true\n"
                    f"startsecs={0 if one_shot else 1}\nstdout_logfile=NONE\nstderr_logfile=NONE\n"
                )
            told[name] = ([bench.peers[name], "-c", config], full, home)
    return told


def build_tools(out):
    """The C helpers. Static: what their own loading costs is not the measure."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        sys.exit("bench: a C compiler (cc) is needed for the workers and the limit")
    os.makedirs(out)
    tools = {}
    for name in ("limit", "worker", "stopwatch", "storm", "flood", "many"):
        bare = ["-nostdlib", "-ffreestanding", "-fno-stack-protector"] if name == "limit" else []
        tools[name] = os.path.join(out, name)
        source = os.path.join(HERE, name + ".c")
        subprocess.run([compiler, "-O2", "-static", *bare, "-o", tools[name], source], check=True)
    return tools


def target():
    """What is built for: static with musl where that target is installed, else static with glibc; and the environment for it."""
    musl = f"{platform.machine()}-unknown-linux-musl"
    targets = run_text(["rustup", "target", "list", "--installed"]).split()
    sysroot = run_text(["rustc", "--print", "sysroot"]).strip()
    if musl in targets or os.path.isdir(os.path.join(sysroot, "lib", "rustlib", musl)):
        return musl, dict(os.environ)
    return f"{platform.machine()}-unknown-linux-gnu", dict(os.environ, RUSTFLAGS="-C target-feature=+crt-static")


def build_watchdog():
    """The binary as it is released; WATCHDOG_BIN names one that is there, for trying the benchmarks themselves."""
    given = os.environ.get("WATCHDOG_BIN")
    if given:
        return given, "a binary that was given"
    binary = released(ROOT, os.environ)
    target = os.path.basename(os.path.dirname(os.path.dirname(binary)))
    return binary, f"{target}, static"


def released(root, env):
    """What scripts/release of that tree builds; cargo alone where there is no such script."""
    script = os.path.join(root, "scripts", "release")
    return os.path.join(root, built_by([script, "--unchecked"], root, env).strip().splitlines()[-1])


def built_by(command, root, env):
    """What a build says. Broken off, its compilers are ended with it: they are a group of their own."""
    process = subprocess.Popen(command, cwd=root, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        told, _ = process.communicate()
    except BaseException:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        raise
    if process.returncode != 0:
        sys.exit(f"bench: {' '.join(command)} ended with status {process.returncode}")
    return told


def earlier(before, commit, folder):
    """The watchdog to compare with: a binary as it is, or a commit built in a tree of its own. -> (binary, name of the commit)"""
    if os.path.isfile(before):
        return before, commit and (short(commit) or commit)
    found = short(before)
    if not found:
        raise SystemExit(f"bench: --before {before}: neither a file nor a commit")
    tree, env = os.path.join(folder, "tree"), dict(os.environ, CARGO_TARGET_DIR=os.path.join(folder, "target"))
    subprocess.run(["git", "worktree", "add", "--quiet", "--detach", tree, before], cwd=ROOT, check=True)
    try:
        kept = os.path.join(folder, "watchdog")
        shutil.copy2(released(tree, env), kept)
        return kept, found
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", tree], cwd=ROOT, check=False)
        shutil.rmtree(env["CARGO_TARGET_DIR"], ignore_errors=True)


def changed_files():
    """Files that differ from the commit, but for the pages themselves; untracked ones do not count."""
    pages = (":!docs/benchmarks.md", ":!docs/benchmarks.json", ":!docs/scale.md", ":!docs/scale.json", ":!README.md")
    return run_text(["git", "status", "--porcelain", "--untracked-files=no", "--", ".", *pages], cwd=ROOT).splitlines()


def short(commit):
    return run_text(["git", "rev-parse", "--short=10", "--verify", "--quiet", commit + "^{commit}"], cwd=ROOT).strip()


def stripped(binary, copy):
    """A copy without symbols (one with them is the same program, and only its size says otherwise), in the state of an installed
    program after a boot: out of the page cache, read again when it is run. How a file came into the page cache decides how much of
    it one fault maps: by a third, both for the number of page faults and for PSS."""
    whole = copy + ".whole"
    shutil.copyfile(binary, whole)
    if shutil.which("strip"):
        subprocess.run(["strip", whole], check=True)
    shutil.copyfile(whole, copy)
    os.unlink(whole)
    os.chmod(copy, 0o755)
    fd = os.open(copy, os.O_RDWR)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)
    return copy


def run_text(command, **more):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, **more).stdout
    except OSError:
        return ""


def percentile(values, share):
    """Nearest rank; None of nothing."""
    if not values:
        return None
    values = sorted(values)
    return values[min(len(values) - 1, max(0, int(len(values) * share + 0.5) - 1))]


def median(values):
    return percentile(values, 0.5)


def machine():
    """What the numbers belong to. No name of the machine."""
    cpu = next((l.split(":", 1)[1].strip() for l in read("/proc/cpuinfo").splitlines() if l.startswith("model name")), "?")
    memory = int(read("/proc/meminfo").split()[1]) / (1 << 20)
    system = next((l.split("=", 1)[1].strip('"') for l in read("/etc/os-release").splitlines() if l.startswith("PRETTY_NAME")), "Linux")
    virtual = " (virtual machine)" if " hypervisor" in read("/proc/cpuinfo") else ""
    rust = run_text(["rustc", "--version"]).split()
    return (
        f"{os.cpu_count()} cores {cpu}{virtual}, {memory:.0f} GiB, Linux {platform.release().split('-')[0]}, {system}, "
        f"rustc {rust[1] if len(rust) > 1 else '?'}"
    )


def versions(bench):
    """The peers that are measured, with the versions of their packages, and those that are not installed."""
    found = []
    for name, package in PEERS:
        if name in bench.peers:
            version = run_text(["dpkg-query", "-W", "-f", "${Version}", package]).strip() or "version unknown"
            found.append(f"{name} {version}")
    return found, [name for name, _ in PEERS if name not in bench.peers]


def file_system(path):
    return run_text(["stat", "-f", "-c", "%T", path]).strip() or "?"


def cpu_times():
    """Ticks of all processors: in all, and idle or waiting for a disk."""
    ticks = [int(w) for w in read("/proc/stat").split("\n", 1)[0].split()[1:9]]
    return sum(ticks), ticks[3] + ticks[4]


def busy_since(before):
    """The share of processor time that was used meanwhile."""
    now = cpu_times()
    return 1 - (now[1] - before[1]) / max(1, now[0] - before[0])


def read(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def wait_for(condition, seconds):
    """True as soon as the condition holds; False when the time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.005)
    return False
