"""docs/scale.md from docs/scale.json."""

from statistics import median

from bench import BEFORE, OURS
from page import facts, missed, row, summary, table, without_words

__all__ = ["render", "rows_of", "figures", "without_words"]

PEERS = ("s6", "runit", "daemontools", "supervisord")
LIVES = (("start", "all up"), ("back", "all killed at once, until all are back"), ("stop", "all down"))
VERBS = (("reload", "reload of one changed service"), ("status", "`status`"), ("metrics", "`/metrics`"))
# What a target is, against the limit: count -> what -> times.
TARGETS = {100: {"start": 1.2, "stop": 2, "back": 1.4}, 1000: {"start": 1.2, "stop": 1.5}}
FLAT = 1.25


def number(label):
    return int(label.split()[0])


def values(results, count, key):
    """tool -> median over its rounds; those that did not come to it are left out."""
    found = {}
    for name, rounds in results["lives"].get(str(count), {}).items():
        numbers = [r[key] for r in rounds if r.get(key) is not None]
        if numbers and len(numbers) == len([r for r in rounds if key in r]):
            found[name] = median(numbers)
    return found


def rows_of(results):
    """(rows of the summary, nothing more)."""
    rows, counts = [], [int(label) for label in results["lives"] if "lean" not in label]
    for count in counts:
        for key, words in LIVES:
            share = TARGETS.get(count, {}).get(key)
            data = {n: v * 1000 for n, v in values(results, count, key).items()}
            limit = data.get("limit")
            if share and limit:
                data.setdefault(OURS, float("inf"))
                row(rows, f"{key}-{count}", f"{count} services: {words}", data, PEERS, limit, f"<= {share} x limit", share * limit, "ms", 1)
    if 1000 in counts:
        memory = {n: v / 1024 for n, v in values(results, 1000, "pss").items()}
        row(rows, "pss-1000", "1000 services: PSS of all supervisor processes", memory, PEERS, memory.get("limit"), "<= 6 MiB", 6, "MiB", 2)
    each = growth_of_memory(results, counts)
    if each:
        row(rows, "each", "memory of one service more (PSS)", each, PEERS, None, "<= 5 KiB", 5, "KiB", 1)
    if 1000 in counts:
        idle = values(results, 1000, "idle")
        row(rows, "idle-1000", "1000 services: CPU while idle", idle, PEERS, idle.get("limit"), "0", 0, "ms/s", 1)
    beats = (results.get("beats") or {}).get("beats, 1 s")
    if beats:
        row(rows, "beats", "1000 services: CPU with a beat of each every second", beats, (), None, "<= 10 ms/s", 10, "ms/s", 1)
    flat(rows, results)
    return rows, []


def growth_of_memory(results, counts):
    """KiB of one service more, from the smallest to the largest count that each tool was asked for; supervisord's own are few."""
    found = {}
    for name in (OURS, BEFORE, "limit", *PEERS):
        there = [(c, values(results, c, "pss")[name]) for c in counts if name in values(results, c, "pss")]
        if len(there) > 1:
            found[name] = (there[-1][1] - there[0][1]) / (there[-1][0] - there[0][0])
    return found if OURS in found else {}


def flat(rows, results):
    """Times per service at the largest count, in times of those at the smallest of the same form."""
    labels = sorted(results["lives"], key=number)
    many = labels[-1]
    few = next(label for label in labels if label.split()[1:] == many.split()[1:])
    if few == many:
        return
    counts = number(few), number(many)
    for key, words in LIVES:
        data = ratios(values(results, few, key), values(results, many, key), *counts)
        if OURS in data:
            limit = data.get("limit")
            row(rows, f"flat-{key}", f"{words}: time per service with {counts[1]}, in times of that with {counts[0]}", data, (), limit,
                f"<= {FLAT} x the limit's" if limit else f"<= {FLAT}", FLAT * max(1, limit or 1), "", 2)
    for key, words in VERBS:
        told = [{n: v[key] for n, v in results["verbs"].get(label, {}).items() if v.get(key)} for label in (few, many)]
        data = ratios(*told, *counts)
        if OURS in told[0]:
            data.setdefault(OURS, float("inf"))
            row(rows, f"flat-{key}", f"{words}: the same", data, (), None, f"<= {FLAT}", FLAT, "", 2)


def ratios(small, large, few, many):
    return {n: (large[n] / many) / (small[n] / few) for n in large if n in small and small[n]}


def render(results, about):
    rows, _ = rows_of(results)
    lines = [
        "# Many services",
        "",
        "Written by `scripts/bench/scale`, from docs/scale.json: the same tiny worker so many times, watchdog, the limit and the peers in a new",
        "random order in each round, medians. Absolute values hold for one machine and one day; compare the ratios.",
        "",
        *facts(about, "scripts/bench/scale"),
        f"- rounds: {about['rounds']} of watchdog and the limit, {about['peer_rounds']} of the peers",
        "- watchdog runs one file, with `log = capture`, a native channel and a notify socket for each service",
        "- limit: a loop in C that does vfork, exec, wait and the same again (`scripts/bench/many.c`)",
        "- all up: to the last worker's first word. Back: from SIGKILL for all to the first word of the last new one (s6 waits a second by",
        "  design). Down: until nothing of it lives. PSS: of all supervising processes",
        "- s6, runit and daemontools have a process for each service; svscan is built for a thousand. With more than that the peers are not",
        "  measured",
        *(["- lean: with `log = inherit` and `dialects = native`, since the limit of descriptors of that machine does not allow the default form"]
          if any("lean" in label for label in results["lives"]) else []),
        "", "## At a glance", "", *summary(rows, about), *missed(rows),
    ]
    for count, tools in results["lives"].items():
        lines += ["", f"## {number(count)} services{', lean' if 'lean' in count else ''}", "", *table(
            ["", "all up", "to limit", "all killed, all back", "to limit", "all down", "to limit", "PSS", "CPU while idle"],
            [life(results, count, name) for name in tools])]
    lines += verb_lines(results)
    beats = results.get("beats")
    if beats:
        names = [n for n in (BEFORE, OURS) if any(n in d for d in beats.values())]
        lines += ["", "## What a beat and a probe for each of 1000 cost", "", *table(
            ["", *names], [[label, *(f"{d[n]:.1f} ms/s" if n in d else "-" for n in names)] for label, d in beats.items()])]
    return "\n".join(lines) + "\n"


def life(results, count, name):
    cells = [name]
    for key, _ in LIVES:
        data = values(results, count, key)
        cells.append(time_of(data.get(name)))
        cells.append(f"{data[name] / data['limit']:.2f}" if name in data and data.get("limit") else "-")
    memory, idle = values(results, count, "pss").get(name), values(results, count, "idle").get(name)
    cells.append("-" if memory is None else f"{memory / 1024:.1f} MiB")
    cells.append("-" if idle is None else f"{idle:.1f} ms/s")
    return cells


def verb_lines(results):
    """Per service, so that what is flat looks flat."""
    lines = []
    for name in (OURS, BEFORE):
        told = [(count, data[name]) for count, data in results["verbs"].items() if data.get(name)]
        if not told:
            continue
        lines += ["", f"## Time per service, {name}", "",
                  "In microseconds; in brackets in all. A reload ends with the first word of the changed service's new worker; `status` is the",
                  "whole client. `/metrics` measures all services, and within the same second it does not again.", ""]
        rows = []
        for count, data in told:
            cells = [count]
            for key, _ in LIVES:
                cells.append(each(values(results, count, key).get(name), number(count)))
            cells += [each(data.get(key), number(count)) for key in ("reload", "status", "metrics", "metrics again", "metrics cpu")]
            cells.append(f"{data['metrics bytes'] / number(count):.0f}" if data.get("metrics bytes") else "no answer")
            rows.append(cells)
        lines += table(["services", "up", "back", "down", "reload of one", "`status`", "`/metrics`", "again", "CPU of it", "bytes of it"], rows)
    return lines


def each(value, count):
    return "-" if value is None else f"{value * 1e6 / count:,.1f} ({time_of(value)})"


def time_of(value):
    return "-" if value is None else f"{value * 1000:.1f} ms" if value < 0.1 else f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def figures(results):
    """Rows for the README."""
    start, memory = values(results, 1000, "start"), values(results, 1000, "pss")
    if OURS not in start or OURS not in memory:
        return []
    return [
        ["1000 services, all up", time_of(start[OURS]), ", ".join(f"{n} {time_of(start[n])}" for n in ("limit", *PEERS) if n in start)],
        ["1000 services, memory (PSS)", f"{memory[OURS] / 1024:.1f} MiB",
         ", ".join(f"{n} {memory[n] / 1024:.0f} MiB" for n in PEERS if n in memory)],
    ]
