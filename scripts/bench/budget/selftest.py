"""The parts that measure nothing, tried on texts: `scripts/bench/budgets --self-test`."""

import os
import subprocess
import tempfile

from budget import ceilings, history, restarts, trace

TRACE = """\
10 1.000001 epoll_pwait(4,  <unfinished ...>
11 1.000002 write(3, "x = 1) = 7", 10) = 10
11 1.000003 +++ killed by SIGKILL +++
10 1.000004 <... epoll_pwait resumed>[{events=EPOLLIN, data={u32=0, u64=0}}], 256, -1, NULL, 8) = 1
10 1.000005 --- SIGCHLD {si_signo=SIGCHLD, si_pid=11} ---
10 1.000006 read(3, "\\21"..., 128) = 128
10 1.000007 wait4(-1, [{WIFSIGNALED(s) && WTERMSIG(s) == SIGKILL}], WNOHANG|__WALL, {ru_utime={tv_sec=0}}) = 11
10 1.000008 getpid() = 10
10 1.000009 clone(child_stack=0x1, flags=CLONE_VM|CLONE_VFORK|SIGCHLD <unfinished ...>
12 1.000010 getppid() = 10
12 1.000011 execve("/no/x", ["x"], 0x1 /* 3 vars */) = -1 ENOENT (No such file or directory)
12 1.000012 execve("/bin/x", ["x"], 0x1 /* 3 vars */ <unfinished ...>
10 1.000013 <... clone resumed>, parent_tid=[9]) = 12
12 1.000014 <... execve resumed>) = 0
10 1.000015 close(9) = 0
"""
FILE = """\
# A file.
[prefix.calls]
what = "calls"
ceiling = 1_000
unit = "calls"
reason = "they are needed"

[memory.each]
what = "memory"
ceiling = 6.5
unit = "KiB"
slack = 0.25
reason = "it is"
target = "5"
"""


def same(found, expected):
    if found != expected:
        raise SystemExit(f"budgets: self-test: {found!r} is not {expected!r}")


def run():
    traces()
    comparing()
    raising()
    repository()
    print("budgets: the self-test is passed")


def traces():
    calls = trace.calls(TRACE)
    same([c.name for c in calls if c.pid == 10], ["epoll_pwait", "read", "wait4", "getpid", "clone", "close"])
    same([c.result for c in calls if c.pid == 12], [10, -1, 0])
    same(calls[1].result, 10)
    same(trace.calls("1.5 getpid() = 7\nnoise\n")[0].pid, 0)
    same(restarts.to_exec(calls, 10, [11]), {"restart.wake-to-exec": 4, "restart.reap-to-exec": 2, "restart.child-calls": 3})


def comparing():
    entries = ceilings.parse(FILE)
    same(list(entries), ["prefix.calls", "memory.each"])
    same(ceilings.faults(entries), [])
    same(ceilings.faults({"a.b": {"what": "", "ceiling": "1", "unit": "x", "more": 1}}),
         ["a.b: reason is missing", "a.b: more is not known", "a.b: ceiling has the wrong type", "a.b: what is empty"])
    values = {"prefix.calls": 1001, "memory.each": 6.5}
    same(ceilings.compare(entries, values, True)[1], ["prefix.calls"])
    same(ceilings.compare(entries, {"prefix.calls": 1000, "memory.each": 6.5}, True)[1], [])
    same(ceilings.compare(entries, {"prefix.calls": 1000}, True)[1], ["memory.each"])
    same(ceilings.compare(entries, {"prefix.calls": 1000}, False)[1], [])
    same(ceilings.compare(entries, {"prefix.new": 0}, False)[1], ["prefix.new"])
    lower = FILE.replace("1_000", "999").replace("6.5", "6.26")
    same(ceilings.tightened(FILE, {"prefix.calls": 999, "memory.each": 6.004}), lower)
    same(ceilings.tightened(FILE, {"prefix.calls": 1001}), FILE)
    same([ceilings.number(n) for n in (1234567, 12.5, 3.0, 0)], ["1,234,567", "12.5", "3", "0"])
    same("| `memory.each` | memory | 6.5 KiB | 5 | it is |" in ceilings.page(entries), True)


def raising():
    entries = ceilings.parse(FILE)
    same(history.raised(entries, entries), [])
    same(history.raised(entries, ceilings.parse(FILE.replace("1_000", "1_001"))), ["prefix.calls"])
    same(history.raised(entries, {"prefix.calls": entries["prefix.calls"]}), ["memory.each"])
    same(history.raised({}, entries), [])
    same(history.reasons("x\n\nCeiling: prefix.calls: a new promise\nCeiling: no.reason:\nCeiling: \n"), {"prefix.calls": "a new promise"})


def repository():
    """A repository of its own: raised without a reason, then lowered, then raised with one."""
    with tempfile.TemporaryDirectory() as root:
        path = os.path.join(root, history.PLACE)
        os.makedirs(os.path.dirname(path))
        git = ["git", "-C", root, "-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]

        def commit(ceiling, message):
            with open(path, "w") as file:
                file.write(FILE.replace("1_000", ceiling))
            subprocess.run([*git, "add", "."], check=True)
            subprocess.run([*git, "commit", "-q", "-m", message], check=True)

        subprocess.run([*git, "init", "-q"], check=True)
        commit("1_000", "first")
        same(history.check(root, ceilings.parse(FILE)), ([], []))
        commit("1_001", "higher")
        wrong, told = history.check(root, ceilings.parse(FILE.replace("1_000", "1_002")))
        same((len(wrong), "raised prefix.calls" in wrong[0], len(told)), (1, True, 1))
        commit("1_000", "lower again")
        same(history.check(root, ceilings.parse(FILE)), ([], []))
        commit("1_003", "higher\n\nCeiling: prefix.calls: a new promise")
        same(history.check(root, ceilings.parse(FILE.replace("1_000", "1_003"))), ([], []))
        shallow = os.path.join(root, "shallow")
        subprocess.run([*git, "clone", "-q", "--depth", "1", f"file://{root}", shallow], check=True)
        wrong, told = history.check(shallow, ceilings.parse(FILE.replace("1_000", "1_003")))
        same((wrong, len(told)), ([], 1))
