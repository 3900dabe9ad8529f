"""Whether the commit that last raised a ceiling, or took one out, says why: a line `Ceiling: NAME: reason`."""

import re
import subprocess

from budget import ceilings

PLACE = "scripts/bench/ceilings.toml"


class Git:
    """A repository, asked by its command line."""

    def __init__(self, root):
        self.root = root

    def ask(self, *words):
        """What it says; None: it refuses, or is not there."""
        try:
            command = ["git", "-c", "safe.directory=*", "-C", self.root, *words]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
        except OSError:
            return None
        return done.stdout if done.returncode == 0 else None

    def entries(self, commit):
        """The ceilings of a commit; nothing where it has no such file."""
        text = self.ask("show", f"{commit}:{PLACE}")
        return ceilings.parse(text) if text else {}


def raised(before, after):
    """Names that may cost more than before: with a higher ceiling, or with none any more."""
    return [name for name, entry in before.items() if name not in after or after[name]["ceiling"] > entry["ceiling"]]


def reasons(message):
    """name -> reason, as a message gives them."""
    return dict(re.findall(r"^Ceiling: ([\w.-]+): *(\S.*)$", message, re.MULTILINE))


def check(root, now):
    """(what is wrong, what could not be looked at). `now`: the ceilings of the working tree."""
    git = Git(root)
    shallow = git.ask("rev-parse", "--is-shallow-repository")
    if shallow is None:
        return [], ["no git repository here: whether raised ceilings have a reason was not checked"]
    told = []
    if shallow.strip() == "true":
        told.append("a shallow clone: whether raised ceilings have a reason is checked for its commits alone")
    waiting = raised(git.entries("HEAD"), now)
    if waiting:
        told.append("raised and not committed yet: the commit has to say " + ", ".join(f"`Ceiling: {name}: reason`" for name in waiting))
    return unexplained(git), told


def unexplained(git):
    """For each name the newest commit that raised it, where it gives no reason and has not been taken back since. A merge raises
    what is above all its parents."""
    wrong, seen, now = [], set(), git.entries("HEAD")
    for line in (git.ask("log", "--full-history", "--topo-order", "--format=%H %P", "HEAD", "--", PLACE) or "").splitlines():
        commit, *parents = line.split()
        after = git.entries(commit)
        known = [git.entries(parent) for parent in parents if git.ask("cat-file", "-e", f"{parent}^{{commit}}") is not None]
        each = [set(raised(before, after)) for before in known]
        higher = set.intersection(*each) if each else set()
        higher = {name for name in higher if any(name in raised(before, now) for before in known)}
        given = reasons(git.ask("log", "-1", "--format=%B", commit) or "") if higher else {}
        silent = sorted(higher - seen - set(given))
        wrong += [f"{commit[:12]} raised {name} and does not say why (`Ceiling: {name}: reason`)" for name in silent]
        seen |= higher
    return wrong
