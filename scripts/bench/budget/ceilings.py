"""The ceilings: `ceilings.toml`, what is measured against them, and the page that is made of them."""

import math
import os
import re
import tomllib

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FILE = os.path.join(HERE, "ceilings.toml")
PAGE = os.path.join(os.path.dirname(os.path.dirname(HERE)), "docs", "budgets.md")
KEYS = {"what": str, "ceiling": (int, float), "unit": str, "slack": (int, float), "reason": str, "target": str}
NEEDED = ("what", "ceiling", "unit", "reason")


def parse(text):
    """name -> entry, in the order of the file. Names are `group.measure`."""
    found = {}
    for group, measures in tomllib.loads(text).items():
        for name, entry in measures.items():
            found[f"{group}.{name}"] = entry
    return found


def faults(entries):
    """What is wrong with the file."""
    wrong = []
    for name, entry in entries.items():
        wrong += [f"{name}: {key} is missing" for key in NEEDED if key not in entry]
        wrong += [f"{name}: {key} is not known" for key in entry if key not in KEYS]
        wrong += [f"{name}: {key} has the wrong type" for key, value in entry.items() if not isinstance(value, KEYS.get(key, object))]
        wrong += [f"{name}: {key} is empty" for key in ("what", "unit", "reason") if entry.get(key) == ""]
    return wrong


def read():
    with open(FILE, encoding="utf-8") as file:
        text = file.read()
    entries = parse(text)
    wrong = faults(entries)
    if wrong:
        raise SystemExit("budgets: ceilings.toml: " + "; ".join(wrong))
    return entries


def verdict(entry, value):
    """What a value is to its ceiling: (word, whether it fails)."""
    if entry is None:
        return "NO CEILING", True
    if value > entry["ceiling"]:
        return f"OVER by {number(value - entry['ceiling'])}", True
    return ("ok", False) if tight(entry, value) >= entry["ceiling"] else (f"ok, could be {number(tight(entry, value))}", False)


def compare(entries, values, whole):
    """Rows of the table, and the names that fail. `whole`: everything was to be measured."""
    rows, failed = [], []
    for name in [*entries, *(n for n in values if n not in entries)]:
        entry = entries.get(name)
        if name not in values:
            if whole:
                rows.append((name, "-", number(entry["ceiling"]), entry["unit"], "NOT MEASURED"))
                failed.append(name)
            continue
        word, fails = verdict(entry, values[name])
        ceiling, unit = (number(entry["ceiling"]), entry["unit"]) if entry else ("-", "")
        rows.append((name, number(values[name]), ceiling, unit, word))
        if fails:
            failed.append(name)
    return rows, failed


def number(value):
    return f"{value:,}" if isinstance(value, int) or value == int(value) and abs(value) >= 1000 else f"{value:.2f}".rstrip("0").rstrip(".")


def table(rows):
    rows = [("measure", "value", "ceiling", "unit", "verdict"), *rows]
    widths = [max(len(row[at]) for row in rows) for at in range(5)]
    lines = ([c.rjust(w) if at in (1, 2) else c.ljust(w) for at, (c, w) in enumerate(zip(row, widths))] for row in rows)
    return "\n".join("  ".join(cells).rstrip() for cells in lines)


def tight(entry, value):
    """The ceiling that would be just above a value: with the slack that the entry states."""
    sum_ = value + entry.get("slack", 0)
    return sum_ if isinstance(sum_, int) else math.ceil(round(sum_ * 100, 6)) / 100


def tightened(text, values):
    """The file with each ceiling as low as it can be, and everything else as it was. None is raised: that is done by hand."""
    entries, name, lines = parse(text), None, []
    for line in text.splitlines():
        head = re.fullmatch(r"\[([\w.-]+)\]", line.strip())
        if head:
            name = head.group(1)
        if name in entries and re.match(r"ceiling\s*=", line) and name in values:
            best = tight(entries[name], values[name])
            if best < entries[name]["ceiling"]:
                best = int(best) if best == int(best) else best
                line = f"ceiling = {best:_}"
        lines.append(line)
    return "\n".join(lines) + "\n"


def page(entries):
    """docs/budgets.md."""
    lines = [
        "# Budgets",
        "",
        "What a watchdog may cost, in numbers that do not depend on how busy a machine is. Written by `scripts/bench/budgets --write`",
        "from `scripts/bench/ceilings.toml`; `.ci/run` measures the release binary and fails above a ceiling. A ceiling is raised, or",
        "taken out, by a commit whose message says why, in a line `Ceiling: NAME: reason`. `scripts/bench/budgets --tighten` lowers all",
        "to what is measured now.",
        "",
        "Numbers are of the static musl build on x86_64, by default settings but where a row says otherwise. System calls are those of the",
        "watchdog alone, under strace, from rest to rest: the next event is made when it waits again. Wake-ups are voluntary context",
        "switches without strace. Allocations are of a build with the feature `counted`. Page faults and memory are of a copy of the binary",
        "that was written page by page, since a kernel that keeps a file in larger pieces maps more of it at once. Above a ceiling a group is",
        "measured again, twice at most, and the least counts; `scripts/bench/budgets --prove` shows that one system call or one allocation",
        "more in each turn of the loop fails all the same.",
    ]
    group = None
    for name, entry in entries.items():
        if name.split(".")[0] != group:
            group = name.split(".")[0]
            lines += ["", f"## {group}", "", "| measure | what | ceiling | target | reason |", "|---|---|---|---|---|"]
        cells = [f"`{name}`", entry["what"], f"{number(entry['ceiling'])} {entry['unit']}", entry.get("target", "-"), entry["reason"]]
        lines.append("| " + " | ".join(" ".join(c.split()).replace("|", "\\|") for c in cells) + " |")
    return "\n".join(lines) + "\n"
