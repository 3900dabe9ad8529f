"""docs/benchmarks.md from the results. Prose that belongs to a measure stands here, beside the row it explains."""

# Said below the table, only where the target is missed.
MISSED = {
    "prefix": (
        "The control socket is what the peers do not have: its file is made, looked at and removed on a real file "
        "system. The line `watchdog --control off` shows the same run without it."
    ),
    "settled": (
        "Few restarts, each after a second of idling: on a busy machine this is mostly the wait for a processor. Compare the "
        "p10 columns, and the crash loop, where the same code runs warm."
    ),
    "crash": "Each death is judged, counted, written into the journal and its tree looked for; the limit does none of it.",
    "tee": "A third process reads and writes what the bare pipe moves directly.",
    "inherit": "The worker writes straight into the pipe, so this is the noise of the machine: repeat it.",
    "private": "See the table of idle footprints.",
    "pss": "Nearly all of it is the program's own code, clean pages of a static binary that only a second watchdog shares; what it can write to is the row above.",
    "wakeups": "Something in the loop is due though nobody asked for it: a defect.",
    "zombies": "A defect.",
}


def render(results, about):
    rows, parts = [], []
    for name, part in (("prefix", prefix), ("idle", idle), ("settled", settled), ("crash", crash), ("storm", storm),
                       ("stdout", stdout)):
        if results.get(name):
            part(results[name], rows, parts)
    lines = [
        "# Benchmarks",
        "",
        "Written by `scripts/bench/run`, which measures watchdog and its peers interleaved in one run. Absolute values",
        "hold for one machine and one day; what is compared are the ratios, and the targets are ratios.",
        "",
        f"- machine: {about['machine']}",
        f"- watchdog: {about['built']}; control sockets on {about['runtime']}",
        f"- peers: {', '.join(about['peers']) or 'none installed'}",
    ]
    if about["missing"]:
        lines.append(f"- not installed, skipped: {', '.join(about['missing'])}")
    lines.append(f"- command: `scripts/bench/run{' --quick' if about['quick'] else ''}`")
    busy = results.get("idle", {}).get("busy")
    if busy is not None:
        verdict = "quiet enough" if busy < 0.05 else "**a noisy machine: read the ratios with care**"
        lines.append(f"- the machine was {100 * busy:.0f} % busy with other things during the idle measure: {verdict}")
    lines += ["", "## At a glance", "",
              "| measure | watchdog | best peer | limit | to best peer | to limit | target | met |",
              "|---|---|---|---|---|---|---|---|"]
    lines += ["| " + " | ".join(cells(row)) + " |" for row in rows]
    lines += [
        "",
        "The limit is a loop of vfork, exec and wait in C without a libc: less than that no supervisor can do.",
    ]
    missed = [row for row in rows if not row["met"]]
    if missed:
        lines += ["", "### Where a target is missed, and why", ""]
        lines += [f"- {row['measure']}: {MISSED[row['key']]}" for row in missed]
    for part in parts:
        lines += ["", *part]
    lines += [
        "", "## How to repeat it", "",
        "```",
        "apt-get install tini dumb-init catatonit runit s6 supervisor gcc python3   # what of it is to be compared",
        "rustup target add x86_64-unknown-linux-musl                               # else a static glibc binary is built",
        "scripts/bench/run                                                         # about six minutes; --quick: one and a half",
        "```",
        "",
        "A quiet machine matters more than a fast one. Root is wanted for nothing but the pid namespace where user",
        "namespaces are off.",
    ]
    return "\n".join(lines) + "\n"


def row(rows, key, measure, mine, peer, limit, target, met, unit, digits=0):
    """`peer`: (name, value) or None; `limit`: value or None."""
    rows.append({"key": key, "measure": measure, "mine": mine, "peer": peer, "limit": limit, "target": target,
                 "met": met, "unit": unit, "digits": digits})


def cells(r):
    def show(value):
        return f"{value:,.{r['digits']}f} {r['unit']}".strip()

    def ratio(other):
        return f"{r['mine'] / other:.2f}" if other else "-"

    peer, limit = r["peer"], r["limit"]
    return [
        r["measure"], show(r["mine"]), f"{peer[0]} {show(peer[1])}" if peer else "-",
        show(limit) if limit is not None else "-", ratio(peer[1]) if peer else "-", ratio(limit), r["target"],
        "yes" if r["met"] else "**no**",
    ]


def best(data, names, key, largest=False):
    there = [(name, data[name][key]) for name in names if name in data]
    return (max if largest else min)(there, key=lambda pair: pair[1]) if there else None


def table(head, lines):
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head),
            *["| " + " | ".join(line) + " |" for line in lines]]


def prefix(data, rows, parts):
    mine = data["watchdog"]["added"]
    catatonit = data.get("catatonit", {}).get("added")
    peer = best(data, ("tini", "dumb-init", "catatonit"), "added")
    met = mine <= 0.7 * catatonit if catatonit else mine <= 2 * data["limit"]["added"]
    row(rows, "prefix", "prefix overhead, added p50", mine, peer, data["limit"]["added"], "<= 0.7 x catatonit", met, "us")
    lines = [
        [name, f"{d['p50']:.0f}", f"{d['p95']:.0f}", f"{d['added']:.0f}", f"{d['added95']:.0f}",
         f"{d['added'] / catatonit:.2f}" if catatonit and name != "bare" else "-"]
        for name, d in data.items()
    ]
    parts.append([
        "## Prefix overhead", "",
        "`X -- /bin/true`, from before vfork to after wait, every command once in each round in a new random order.",
        "Added is the difference to the bare `/bin/true`. tini runs with `-s`, without which it is no subreaper here.", "",
        *table(["command", "p50 us", "p95 us", "added p50", "added p95", "to catatonit"], lines),
    ])


def idle(data, rows, parts):
    tools = {name: d for name, d in data.items() if name != "busy"}
    if "watchdog" not in tools:
        return
    mine = tools["watchdog"]
    restarting = ("runsv", "s6-supervise", "supervisord")
    limit = tools.get("limit", {})
    row(rows, "private", "idle: private writable memory", mine["writable"], best(tools, restarting, "writable"),
        limit.get("writable"), "<= 300 KiB", mine["writable"] <= 300, "KiB")
    row(rows, "pss", "idle: PSS", mine["pss"], best(tools, restarting, "pss"), limit.get("pss"),
        "<= 1024 KiB (stretch 450)", mine["pss"] <= 1024, "KiB")
    row(rows, "wakeups", "idle: wake-ups", mine["wakeups"], best(tools, restarting, "wakeups"), limit.get("wakeups"), "0",
        mine["wakeups"] == 0, "/s", 1)
    lines = [[n, str(d["private"]), str(d["writable"]), str(d["pss"]), f"{d['wakeups']:.1f}"] for n, d in tools.items()]
    parts.append([
        "## Idle footprint", "",
        "One sleeping worker, all supervisors side by side, from smaps and smaps_rollup of the supervising process alone.",
        "Private counts pages nobody else maps, the program's own code among them; of a dynamically loaded program most",
        "of the code is shared with others. Wake-ups are voluntary context switches. tini, dumb-init and catatonit do not",
        "restart; the best peer above is one that does.", "",
        *table(["tool", "private KiB", "of it writable", "PSS KiB", "wake-ups/s"], lines),
    ])


def times(data):
    return [[n, f"{d['p10']:,.0f}", f"{d['p50']:,.0f}", f"{d['p95']:,.0f}", str(d["n"])] for n, d in data.items()]


def settled(data, rows, parts):
    mine, limit = data["watchdog"], data["limit"]
    peers = ("runsv", "s6-supervise", "supervisord")
    row(rows, "settled", "restart of a settled worker, p50", mine["p50"], best(data, peers, "p50"), limit["p50"],
        "<= 1.5 x limit", mine["p50"] <= 1.5 * limit["p50"], "us")
    row(rows, "settled", "the same, p95", mine["p95"], best(data, peers, "p95"), limit["p95"], "<= 2 x limit",
        mine["p95"] <= 2 * limit["p95"], "us")
    parts.append([
        "## Restart of a settled worker", "",
        "SIGKILL to a worker that has run for more than a second, to the next one's first line of main (a static C",
        "program). watchdog runs with `--restart-delay 0 --restart-limit 0 --crash-loop-limit 0`; runsv and s6-supervise",
        "start the program itself, without a shell. s6 waits a second between two starts by design; supervisord looks",
        "once a second.", "",
        *table(["tool", "p10 us", "p50 us", "p95 us", "restarts"], times(data)),
    ])


def crash(data, rows, parts):
    mine, limit = data["watchdog"], data["limit"]
    row(rows, "crash", "restart in a crash loop, p50", mine["p50"],
        best(data, ("runsv", "s6-supervise", "supervisord"), "p50"), limit["p50"], "<= 2 x limit",
        mine["p50"] <= 2 * limit["p50"], "us")
    parts.append([
        "## Restart in a crash loop", "",
        "A worker that kills itself at once: from just before its death to the next one's main. Same settings. runsv and",
        "s6-supervise hold a failing worker back for a second by design; supervisord runs with `startsecs=0`.", "",
        *table(["tool", "p10 us", "p50 us", "p95 us", "restarts"], times(data)),
    ])


def storm(data, rows, parts):
    if "watchdog" not in data:
        return
    mine = data["watchdog"]
    peers = [n for n in data if n != "watchdog"]
    row(rows, "zombies", "zombies 2 s after 2000 orphans died", mine["zombies"], best(data, peers, "zombies"), None, "0",
        mine["zombies"] == 0, "")
    lines = [[n, str(d["orphans"]), str(d["zombies"])] for n, d in data.items()]
    parts.append([
        "## Zombie storm", "",
        "As PID 1 of a new pid namespace (`unshare --pid --fork --mount-proc`): a worker leaves 2000 orphans, all of them",
        "die at once, and two seconds later the zombies are counted.", "",
        *table(["PID 1", "orphans", "zombies left"], lines),
    ])


def stdout(data, rows, parts):
    bare, inherit = data["bare pipe"]["mib_s"], data["watchdog --log inherit"]["mib_s"]
    tee = data["watchdog --log tee"]
    peer = [(n, d["mib_s"]) for n, d in data.items() if n == "tini"]
    row(rows, "inherit", "stdout, log inherit", inherit, peer[0] if peer else None, bare, "as bare (>= 0.9)",
        inherit >= 0.9 * bare and data["watchdog --log inherit"]["exact"], "MiB/s")
    peer = [("supervisord", d["mib_s"]) for n, d in data.items() if n.startswith("supervisord")]
    row(rows, "tee", "stdout, log tee", tee["mib_s"], peer[0] if peer else None, bare, ">= 0.2 x inherit, every byte",
        tee["mib_s"] >= 0.2 * inherit and tee["exact"], "MiB/s")
    lines = [
        [n, f"{d['mib_s']:,.0f}", f"{d['mib_s'] / bare:.2f}", "-" if "capture" in n else "yes" if d["exact"] else "**no**"]
        for n, d in data.items()
    ]
    parts.append([
        "## Standard output", "",
        "Lines of 128 bytes in writes of 64 KiB, through a pipe to a reader that compares every byte. With `capture` there",
        "is no reader: the writer's own time counts (the ring keeps the last lines; a file is another matter). Medians.", "",
        *table(["way", "MiB/s", "to bare", "every byte arrived"], lines),
    ])
