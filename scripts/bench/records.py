"""Results as data, pages from them, and the checks that neither has grown old: scripts/bench/run and scripts/bench/scale share it."""

import datetime
import difflib
import json
import os
import sys
import time

import bench as ground
from bench import OURS, ROOT, run_text

CEILINGS = "scripts/bench/ceilings.toml"
BEGIN, END = "<!-- figures: start", "<!-- figures: end"


def git(*words):
    return run_text(["git", *words], cwd=ROOT).strip()


def must_be_clean():
    """A page says of which commit it is, so it is written of nothing else."""
    if os.environ.get("WATCHDOG_BIN"):
        sys.exit("bench: no page is written of a binary that was not built here: unset WATCHDOG_BIN")
    if not git("rev-parse", "HEAD"):
        sys.exit("bench: no page is written without a commit that it could name; --quick measures all the same")
    changed = ground.changed_files()
    if changed:
        sys.exit("bench: no page is written of a tree with changes; commit them, or measure with --quick:\n" + "\n".join(changed))


def about(run, found, missing, more):
    """What the numbers belong to."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return {
        "commit": run.commit, "dirty": run.dirty, "date": now.strftime("%Y-%m-%d %H:%M UTC"),
        "machine": ground.machine(), "peers": found, "missing": missing, "built": run.built, "before": run.before, "quick": run.quick,
        "minutes": (time.monotonic() - run.begun) / 60, **more,
    }


def measured_on():
    """For pages that have no data of their own."""
    commit, day = git("rev-parse", "--short=10", "HEAD") or "unknown", datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
    return f"Measured on commit {commit}{', with changes on top' if ground.changed_files() else ''}, {day}."


def file_of(name, ending):
    return os.path.join(ROOT, "docs", f"{name}.{ending}")


def load(name):
    try:
        with open(file_of(name, "json")) as file:
            return json.load(file)
    except OSError:
        return None


def rounded(value):
    """Numbers as far as they mean something."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(v) for v in value]
    return value


def save(name, results, facts):
    with open(file_of(name, "json"), "w") as file:
        json.dump(rounded({"about": facts, "results": results}), file, indent=1)
        file.write("\n")


def render(name, page):
    """Writes the page and the figures of the README from the data."""
    data = load(name)
    if data is None:
        sys.exit(f"bench: there is no docs/{name}.json yet")
    with open(file_of(name, "md"), "w") as file:
        file.write(page.render(data["results"], data["about"]))
    readme = os.path.join(ROOT, "README.md")
    text = ground.read(readme)
    with open(readme, "w") as file:
        file.write(with_figures(text))


def with_figures(text):
    """The README with the figures of today's data between its markers."""
    if BEGIN not in text or END not in text:
        sys.exit("bench: README.md has lost the markers of its figures")
    head, rest = text.split(BEGIN, 1)
    first, rest = rest.split("\n", 1)
    return head + BEGIN + first + "\n" + "\n".join(figures()) + "\n" + END + rest.split(END, 1)[1]


def figures():
    """What the README says in numbers."""
    one, many = load("benchmarks"), load("scale")
    lines, told = [], []
    if one:
        results, facts = one["results"], one["about"]
        added, idle, settled = results["prefix"], results["idle"], results["settled"]

        def beside(data, names, key, unit, by=1):
            return ", ".join(f"{n} {data[n][key] / by:,.2f} {unit}" for n in names if n in data)

        lines += [
            ["start-up added to `true`", f"{added[OURS]['added'] / 1000:.2f} ms", beside(added, ("catatonit", "tini"), "added", "ms", 1000)],
            ["idle memory (PSS)", f"{idle[OURS]['pss'] / 1024:.2f} MiB, {idle[OURS]['anonymous']} KiB of it anonymous",
             beside(idle, ("tini", "runsv", "supervisord"), "pss", "MiB", 1024)],
            ["SIGKILL of a worker to main of the next", f"{settled[OURS]['p50'] / 1000:.2f} ms",
             beside(settled, ("limit", "runsv", "supervise"), "p50", "ms", 1000)],
            ["binary, static", f"{results['binary'][OURS]['bytes'] / 1e6:.2f} MB", ""],
        ]
        told.append(sentence("benchmarks", facts))
    if many:
        import scalepage  # It needs the rows of page, which needs nothing of this.

        lines += scalepage.figures(many["results"])
        if not one or many["about"]["commit"] != one["about"]["commit"]:
            told.append(sentence("scale", many["about"]))
    if not lines:
        return []
    return ["| | watchdog | beside it |", "|---|---|---|", *["| " + " | ".join(line) + " |" for line in lines], "", *told]


def sentence(name, facts):
    return (f"Commit {facts['commit'][:10]}, {facts['date'][:10]}, {facts['machine'].split(',')[0]}"
            f"{', a quick run' if facts['quick'] else ''} ([docs/{name}.md](docs/{name}.md)).")


def check(name, page):
    """Status 1 with all reasons if the page, the README or the data has grown old."""
    data = load(name)
    if data is None:
        sys.exit(f"bench: there is no docs/{name}.json")
    wrong = differs(f"docs/{name}.md", ground.read(file_of(name, "md")), page.render(data["results"], data["about"]))
    readme = ground.read(os.path.join(ROOT, "README.md"))
    wrong += differs("README.md", readme, with_figures(readme))
    wrong += unexplained(page, data)
    wrong += older_than_the_ceilings(name, data["about"]["commit"])
    for line in wrong:
        print(line, file=sys.stderr)
    if wrong:
        sys.exit(f"bench: docs/{name}.md is not in order; scripts/bench/{script(name)} measures anew, --render writes what is measured already")


def script(name):
    return {"benchmarks": "run", "scale": "scale"}[name]


def differs(name, there, wanted):
    if there == wanted:
        return []
    lines = difflib.unified_diff(there.splitlines(), wanted.splitlines(), name, f"{name}, from the data", lineterm="", n=0)
    return [f"{name} differs from the data:", *lines]


def unexplained(page, data):
    """Of a full run, each missed target has its words."""
    if data["about"]["quick"]:
        return []
    keys = page.without_words(page.rows_of(data["results"])[0])
    return [f"missed, and nothing is said about why (MISSED in scripts/bench/page.py): {key}" for key in keys]


def older_than_the_ceilings(name, measured):
    """Measured before the last change of a ceiling: the page does not show what the ceiling is about."""
    said = f"bench: docs/{name}.md: whether it is older than {CEILINGS} can not be checked:"
    if not git("rev-parse", "HEAD"):
        print(said, "this is no git checkout", file=sys.stderr)
        return []
    if git("rev-parse", "--is-shallow-repository") == "true":
        print(said, "the clone is shallow", file=sys.stderr)
        return []
    change = git("log", "-1", "--format=%H", "--", CEILINGS)
    if not change:
        return []
    if not git("rev-parse", "--verify", "--quiet", measured + "^{commit}"):
        return [f"docs/{name}.md was measured on commit {measured}, which is not in this history"]
    if git("merge-base", change, measured) == change:
        return []
    return [f"docs/{name}.md was measured on commit {measured[:10]}, which is without the last change of {CEILINGS} ({change[:10]})"]
