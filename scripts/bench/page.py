"""docs/benchmarks.md from docs/benchmarks.json. Prose that belongs to a measure stands here, beside the row it explains."""

from bench import BEFORE, OURS

# Said below the tables of both pages, only where a target is missed: what was tried, and which physical or chosen cost stands in the
# way. `scripts/bench/run --check` fails where a target is missed and has no words here; `scripts/bench/run --render` and
# `scripts/bench/scale --render` write the pages anew from their data, without measuring.
MISSED = {
    # docs/benchmarks.md
    "prefix": (
        "What the peers do not have is the control socket and the worker's notify socket: two files are made and "
        "removed (`--control off` beside it shows the first), and a binary that is loaded at another address at each "
        "start has its pointers written. Tried, and in: what a run calls side by side, one copy of the environment, "
        "no look at /proc before the first worker ends, descriptors that are left to the end of the process, an end "
        "without the handlers of an exit."
    ),
    "faults": (
        "A third is chosen: the binary is position-independent (its addresses are random), so each of fifteen pages "
        "of vtables, tables and panic locations is written at its start; without that there would be no more than the "
        "target. Then come nine pages of heap, five of stack, and ten windows of 64 KiB of code and constants: a run "
        "executes 110 pages of its 330 KiB of functions. Tried, and in: relocations in their short form, settings, "
        "verbs and words of other supervisors as texts in place of pointers, what a run calls side by side, rare "
        "branches in functions of their own, no buffers in the frame of a turn."
    ),
    "pss": (
        "Nearly all of it is clean code that only a second watchdog shares; each fault maps the 64 KiB around it. "
        "Tried, and in: what a run and an idle watchdog call side by side, rare branches in functions of their own, "
        "size before speed for all but the engine, no tables for unwinding."
    ),
    "anonymous": (
        "Half of it are tables that a position-independent binary writes at its start (its addresses are random); "
        "then come nine pages of heap, five of stack, and what is kept for the next start. Tried, and in: texts in "
        "place of pointers, smaller frames, one copy of the environment, no copy of /proc/vmstat."
    ),
    "wakeups": None,
    "binary": (
        "One program holds everything: the view of many services, drill, simulator, installer, pages of help, HTTP and "
        "TOML. About a tenth is the symbolizer that std links into every program for its panic messages, and a "
        "twentieth sorting that the compiler makes anew for each type. Tried, and in: size before speed, one unit of "
        "code for all crates, no tables for unwinding."
    ),
    "settled": (
        "Before the next exec stand seven calls of the watchdog and nine of the child, where the limit has three: the "
        "signal is read, the channels of the dead worker are heard to their end, the next one gets its own, its "
        "group, its limits and its mask. All evidence is taken after the exec. After a second of rest nothing of that "
        "is in the caches: the same restart of a worker that lives 50 ms takes less than half of the time, and the "
        "fewer pages the path touches, the faster it is."
    ),
    "crash": (
        "As for the settled worker; the report, the log line and the counters of each death are made between two starts "
        "and share the two processors with the worker."
    ),
    "zombies": None,
    "inherit": (
        "The worker writes into the pipe itself; this is the noise of the machine."
    ),
    "tee": (
        "Every byte passes through one more process, which keeps the last lines as well: a read and a write for each "
        "pipe-full ([output.md](output.md))."
    ),
    # docs/scale.md
    "start-100": (
        "Each service has a channel, a notify socket with a file of its own and two pipes, which the limit has not: "
        "31 calls, about 60 us, and the wait for the exec is the same."
    ),
    "stop-100": (
        "The channels of each service are heard to their end and closed, its socket file is removed, and its end is "
        "told, where the limit only waits. Tried, and in: who is stopped is looked for a moment later, and not of "
        "those that have ended."
    ),
    "back-100": (
        "Each death is told and counted, and each start makes its channels and its socket file anew; that of the dead "
        "is removed."
    ),
    "start-1000": (
        "Each service has a channel, a notify socket with a file of its own and two pipes, which the limit has not: "
        "31 calls, about 60 us beside the 100 us of vfork and exec, and 5 KiB of memory that is touched first."
    ),
    "stop-1000": (
        "The channels of each service are heard to their end and closed, its socket file is removed, and its end is "
        "told, where the limit only waits. Tried, and in: who is stopped is looked for a moment later, and not of "
        "those that have ended."
    ),
    "pss-1000": (
        "A quarter of a megabyte of code more than one service needs, and 4 to 5 KiB for each: its settings, its "
        "state, its sockets."
    ),
    "each": (
        "A service that says nothing has its settings, its state, and the paths of its sockets; what services have "
        "alike stands once."
    ),
    "idle-1000": None,
    "beats": (
        "A beat is one call that wakes the worker and two that read its answer. Half of its time is that of the "
        "kernel, which wakes a thousand processes on two processors; most of the rest is the wait for memory: while a "
        "thousand workers run, what is known of each has left the caches. Tried, and in: the words for one worker go "
        "out in one call, where three woke it."
    ),
    "flat-start": (
        "The kernel's own part grows: its list of our children, the directory of the sockets, the page cache of a busy "
        "machine."
    ),
    "flat-stop": (
        "The kernel's own part grows: each wait looks at its list of our children."
    ),
    "flat-back": (
        "The kernel's own part grows: each wait looks at its list of our children."
    ),
    "flat-reload": (
        "A reload reads the whole file."
    ),
    "flat-status": (
        "One answer holds all services."
    ),
    "flat-metrics": (
        "One page holds all services; it comes in pieces, and its reader's own time counts."
    ),
}
NO_WORDS = "not explained yet (`MISSED` in scripts/bench/page.py)."

RESTARTING = ("runsv", "s6-supervise", "supervise", "supervisord")
INITS = ("tini", "dumb-init", "catatonit")


def rows_of(results):
    """(rows of the summary, sections)."""
    rows, parts = [], []
    for name, part in (("prefix", prefix), ("binary", binary), ("idle", idle), ("settled", settled), ("crash", crash), ("storm", storm),
                       ("stdout", stdout)):
        if results.get(name):
            part(results[name], rows, parts)
    return rows, parts


def render(results, about):
    rows, parts = rows_of(results)
    lines = [
        "# Benchmarks",
        "",
        "Written by `scripts/bench/run`, which measures watchdog and its peers interleaved in one run, from docs/benchmarks.json.",
        "Absolute values hold for one machine and one day; what is compared are the ratios, and the targets are ratios.",
        "",
        *facts(about, "scripts/bench/run"),
        f"- control sockets on {about['runtime']}",
    ]
    lines += ["", "## At a glance", "", *summary(rows, about), "",
              "The limit is a loop of vfork, exec and wait in C without a libc: less than that no supervisor can do."]
    lines += missed(rows)
    for part in parts:
        lines += ["", *part]
    lines += ["", *profile(results.get("profile") or {})]
    lines += [
        "", "## How to repeat it", "",
        "```",
        "apt-get install tini dumb-init catatonit runit s6 daemontools supervisor gcc python3   # what of it is to be compared",
        "rustup target add x86_64-unknown-linux-musl      # else a static glibc binary is built",
        "scripts/bench/run                                # about seven minutes; --quick: two",
        "scripts/bench/run --before COMMIT                # with an earlier watchdog beside this one",
        "```",
        "",
        "`scripts/bench/scale` does the same for many services ([scale.md](scale.md)), `scripts/bench/budgets` counts what does not depend",
        "on a quiet machine. `cargo bench -p watchdog-engine` times the pure functions of the machine: one death and the start after",
        "it, the next deadline among 1, 100 and 1000 services, and so on.",
        "",
        "A quiet machine matters more than a fast one. Root is wanted for the profile, and for the pid namespace where user",
        "namespaces are off.",
    ]
    return "\n".join(lines) + "\n"


def facts(about, command):
    """What the numbers belong to; both pages begin with it."""
    told = [
        f"- watchdog: commit {about['commit']}{', with changes on top' if about['dirty'] else ''}; {about['built']}",
        f"- measured: {about['date']}, by `{command}{' --quick' if about['quick'] else ''}`, {about['minutes']:.0f} minutes",
        f"- machine: {about['machine']}",
        f"- peers: {', '.join(about['peers']) or 'none installed'}",
    ]
    if about["missing"]:
        told.append(f"- not installed, left out: {', '.join(about['missing'])}")
    before = about.get("before")
    if before:
        told.append(f"- before: watchdog of commit {before['commit'] or 'unknown'}, measured in the same run")
    busy = about.get("busy")
    if busy is not None:
        verdict = "quiet enough" if busy < 0.05 else "**a noisy machine: read the ratios with care**"
        told.append(f"- the machine was {100 * busy:.0f} % busy with other things while nothing was measured: {verdict}")
    if about["quick"]:
        told.append("- **a quick run, with few rounds: it shows that the scripts work, and no more**")
    return told


def summary(rows, about):
    """The table of targets."""
    before = bool(about.get("before"))
    head = ["measure", *(["before"] if before else []), "watchdog", "best peer", "limit", "to best peer", "to limit", "target", "met"]
    return table(head, [cells(r, before) for r in rows])


def missed(rows):
    """By how much, what was tried, and why."""
    found = [r for r in rows if not r["met"]]
    if not found:
        return []
    lines = ["", "### Where a target is missed, and why", ""]
    for r in found:
        bound, mine = r["bound"], r["mine"]
        if r["mine"] == float("inf"):
            by = "it did not come to it"
        elif bound:
            share = mine / bound if not r["least"] else bound / max(mine, 1e-9)
            by = f"{show(r, mine)} against {show(r, bound)}, {share:.2f} times what was aimed at"
        else:
            by = f"{show(r, mine)} against {show(r, bound)}"
        lines.append(f"- **{r['measure']}**: {by}. {MISSED.get(r['key']) or NO_WORDS}")
    return lines


def without_words(rows):
    """Keys of missed rows that nothing is said about."""
    return [r["key"] for r in rows if not r["met"] and not MISSED.get(r["key"])]


def row(rows, key, measure, data, peers, limit, target, bound, unit, digits=0, least=False, also=True):
    """One line of the summary. `data`: tool -> number; `peers`: the names among which the best one is sought; `limit`: number or
    None; `bound`: what may not be exceeded, or with `least` must be reached; `also`: whatever else must hold."""
    mine = data[OURS]
    there = [(name, data[name]) for name in peers if data.get(name) is not None]
    peer = (max if least else min)(there, key=lambda pair: pair[1]) if there else None
    met = also and (mine >= bound if least else mine <= bound)
    rows.append({"key": key, "measure": measure, "mine": mine, "before": data.get(BEFORE), "peer": peer, "limit": limit, "target": target,
                 "bound": bound, "met": met, "unit": unit, "digits": digits, "least": least})


def show(r, value):
    return "none" if value == float("inf") else f"{value:,.{r['digits']}f} {r['unit']}".strip()


def cells(r, before):
    def ratio(other):
        return f"{r['mine'] / other:.2f}" if other and r["mine"] != float("inf") else "-"

    peer, limit = r["peer"], r["limit"]
    return [
        r["measure"], *([show(r, r["before"]) if r["before"] is not None else "-"] if before else []),
        f"**{show(r, r['mine'])}**", f"{peer[0]} {show(r, peer[1])}" if peer else "-",
        show(r, limit) if limit is not None else "-", ratio(peer[1]) if peer else "-", ratio(limit), r["target"],
        "yes" if r["met"] else "**no**",
    ]


def column(data, key):
    """tool -> one of its numbers."""
    return {name: d[key] for name, d in data.items() if isinstance(d, dict) and d.get(key) is not None}


def table(head, lines):
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head),
            *["| " + " | ".join(line) + " |" for line in lines]]


def prefix(data, rows, parts):
    catatonit, limit = data.get("catatonit", {}).get("added"), data["limit"]
    added = column(data, "added")
    bound = 0.7 * catatonit if catatonit else 2 * limit["added"]
    row(rows, "prefix", "prefix form, `X -- true`: added p50", added, INITS, limit["added"],
        "<= 0.7 x catatonit" if catatonit else "<= 2 x limit", bound, "us")
    row(rows, "faults", "page faults of its own in it", column(data, "faults"), INITS, limit["faults"], "<= 36", 36, "")
    lines = [
        [name, f"{d['p50']:.0f}", f"{d['p95']:.0f}", f"{d['added']:.0f}", f"{d['added95']:.0f}",
         f"{d['added'] / catatonit:.2f}" if catatonit and name != "bare" else "-", f"{d['faults']:.0f}"]
        for name, d in data.items()
    ]
    parts.append([
        "## Prefix form", "",
        "`X -- /bin/true`, from before vfork to after wait, every command once in each round in a new random order.",
        "Added is the difference to the bare `/bin/true`. tini runs with `-s`, without which it is no subreaper here. Page faults",
        "are those of the supervisor alone, read before it is reaped (waitid with WNOWAIT, /proc/PID/stat). The binary is a copy that was",
        "dropped from the page cache and read again, as after a boot: as the linker or `strip` leaves it, a fault maps more or less of it,",
        "and the number of faults and PSS differ by a third.", "",
        *table(["command", "p50 us", "p95 us", "added p50", "added p95", "to catatonit", "page faults"], lines),
    ])


def binary(data, rows, _):
    row(rows, "binary", "binary", {name: d["bytes"] / 1e6 for name, d in data.items()}, (), None, "<= 2.2 MB", 2.2, "MB", 2)


def idle(data, rows, parts):
    tools = {name: d for name, d in data.items() if name != "busy"}
    if OURS not in tools:
        return
    limit = tools.get("limit", {})
    row(rows, "pss", "idle: PSS", column(tools, "pss"), (*INITS, *RESTARTING), limit.get("pss"), "<= 1,024 KiB (stretch 450)", 1024, "KiB")
    row(rows, "anonymous", "idle: anonymous memory of it", column(tools, "anonymous"), (*INITS, *RESTARTING), limit.get("anonymous"),
        "<= 80 KiB", 80, "KiB")
    row(rows, "wakeups", "idle: wake-ups", column(tools, "wakeups"), (*INITS, *RESTARTING), limit.get("wakeups"), "0", 0, "/s", 1)
    lines = [[n, str(d["private"]), str(d["anonymous"]), str(d["pss"]), f"{d['wakeups']:.1f}"] for n, d in tools.items()]
    parts.append([
        "## Idle footprint", "",
        "One sleeping worker, all supervisors side by side, from smaps_rollup of the supervising process alone. Private counts",
        "pages that no other process maps, the program's own code among them; of a dynamically loaded program most of the code is shared",
        "with others. Anonymous is what belongs to no file. Wake-ups are voluntary context switches. tini, dumb-init and catatonit",
        "do not restart.", "",
        *table(["tool", "private KiB", "anonymous KiB", "PSS KiB", "wake-ups/s"], lines),
    ])


def times(data):
    return [[n, f"{d['p10']:,.0f}", f"{d['p50']:,.0f}", f"{d['p95']:,.0f}", str(d["n"])] for n, d in data.items()]


def settled(data, rows, parts):
    limit = data["limit"]["p50"]
    row(rows, "settled", "restart of a settled worker, p50", column(data, "p50"), RESTARTING, limit, "<= 1.5 x limit", 1.5 * limit, "us")
    parts.append([
        "## Restart of a settled worker", "",
        "SIGKILL to a worker that has run for more than a second, to the next one's first line of main (a static C",
        "program). watchdog runs with `--restart-delay 0 --restart-limit 0 --crash-loop-limit 0`; runsv, s6-supervise and supervise",
        "(daemontools) start the program itself, without a shell. s6 waits a second between two starts by design; supervisord looks",
        "once a second.", "",
        *table(["tool", "p10 us", "p50 us", "p95 us", "restarts"], times(data)),
    ])


def crash(data, rows, parts):
    limit = data["limit"]["p50"]
    row(rows, "crash", "restart in a crash loop, p50", column(data, "p50"), RESTARTING, limit, "<= 1.5 x limit", 1.5 * limit, "us")
    parts.append([
        "## Restart in a crash loop", "",
        "A worker that kills itself at once: from just before its death to the next one's main. Same settings. runsv, s6-supervise",
        "and supervise hold a failing worker back for a second by design; supervisord runs with `startsecs=0`.", "",
        *table(["tool", "p10 us", "p50 us", "p95 us", "restarts"], times(data)),
    ])


def storm(data, rows, parts):
    if OURS not in data:
        return
    row(rows, "zombies", "zombies 2 s after 2000 orphans died", column(data, "zombies"), [n for n in data if n not in (OURS, BEFORE)], None,
        "0", 0, "")
    lines = [[n, str(d["orphans"]), str(d["zombies"])] for n, d in data.items()]
    parts.append([
        "## Zombie storm", "",
        "As PID 1 of a new pid namespace (`unshare --pid --fork --mount-proc`): a worker leaves 2000 orphans, all of them",
        "die at once, and two seconds later the zombies are counted.", "",
        *table(["PID 1", "orphans", "zombies left"], lines),
    ])


def stdout(data, rows, parts):
    rates = {n: d["mib_s"] for n, d in data.items()}
    bare, inherit, tee = rates["bare pipe"], data[f"{OURS} --log inherit"], data[f"{OURS} --log tee"]

    def ours(way):
        return {OURS: rates[f"{OURS} --log {way}"], BEFORE: rates.get(f"{BEFORE} --log {way}"),
                "supervisord": rates.get("supervisord, logged to its stdout"), **{n: rates.get(n) for n in ("tini", "catatonit")}}

    row(rows, "inherit", "stdout, log inherit", ours("inherit"), ("tini", "catatonit"), bare, ">= 0.95 x bare pipe", 0.95 * bare, "MiB/s",
        least=True, also=inherit["exact"])
    row(rows, "tee", "stdout, log tee, every byte", ours("tee"), ("supervisord",), bare, ">= 0.3 x inherit", 0.3 * inherit["mib_s"],
        "MiB/s", least=True, also=tee["exact"])
    lines = [
        [n, f"{d['mib_s']:,.0f}", f"{d['mib_s'] / bare:.2f}", "-" if "capture" in n else "yes" if d["exact"] else "**no**"]
        for n, d in data.items()
    ]
    parts.append([
        "## Standard output", "",
        "Lines of 128 bytes in writes of 64 KiB, through a pipe to a reader that compares every byte. With `capture` there",
        "is no reader: the writer's own time counts (the ring keeps the last lines; a file is another matter). Medians. The limit is",
        "the bare pipe.", "",
        *table(["way", "MiB/s", "to bare", "every byte arrived"], lines),
    ])


def profile(found):
    """Where the time goes."""
    lines = ["## Where the time goes", ""]
    if not found:
        return [*lines, "Not traced: neither tracefs nor strace was to be had on that machine."]
    if found["method"] == "tracefs":
        lines += ["By the kernel's own events (tracefs: system calls, forks, exits, page faults), means of the runs but for the slowest fifth;",
                  "the cost of an event, as a loop of system calls shows it, is taken off."]
    else:
        lines += ["By strace, since tracefs was not permitted: a stop at each call costs more than the call. What the same runs take without it",
                  "is known, and the difference is shared out by the number of events of each step: read it as a rough picture."]
    for key, title, what in (("prefix", "A prefix run", "`watchdog -- /bin/true`"),
                             ("restart", "A restart", "A worker that lives 20 ms and kills itself, from its death to main of the next one")):
        part = found.get(key)
        if not part:
            lines += ["", f"### {title}", "", "No run of it could be told apart from others."]
            continue
        steps, total = part["steps"], sum(s["us"] for s in part["steps"].values())
        told = [[words, f"{s['us']:.0f}", f"{100 * s['us'] / max(total, 1):.0f} %", f"{s['calls']:.0f}", f"{s['faults']:.0f}"]
                for words, s in steps.items()]
        told.append(["in all", f"{total:.0f}", "", f"{sum(s['calls'] for s in steps.values()):.0f}",
                     f"{sum(s['faults'] for s in steps.values()):.0f}"])
        lines += ["", f"### {title}", "",
                  f"{what}: {part['runs']} runs. Untraced they take {part['untraced_us']:.0f} us; an event costs {part['event_us']:.2f} us.", "",
                  *table(["step", "us", "share", "system calls", "page faults"], told)]
        if part.get("calls"):
            kinds = sorted(part["calls"].items(), key=lambda k: -k[1]["us"])
            lines += ["", "Its own system calls by kind, without exec and waiting (a spawn lasts until the child's exec):", "",
                      *table(["kind", "calls", "us"], [[k, f"{v['calls']:.0f}", f"{v['us']:.0f}"] for k, v in kinds])]
        if part.get("after"):
            lines += ["", f"What comes after the spawn, beside the new worker (channels, events, evidence): {part['after']['us']:.0f} us "
                          f"with {part['after']['calls']:.0f} system calls, until the watchdog sleeps again."]
    return lines
