"""The proof that ceilings bite: a build that wastes one system call, or one allocation, in each turn must fail."""

# What is measured for it, and what has to fail by each kind of waste.
WANTED = ["prefix", "beats"]
BITES = {
    "calls": ["prefix.calls", "beat-notify.calls", "beat-native.calls"],
    "allocations": ["beat-notify.allocations", "beat-native.allocations"],
}
# Those alone: pages and bytes of that build are not the release's.
NAMES = set(sum(BITES.values(), []))


def prove(run):
    """`run(waste)` measures and compares as always, and gives the names that fail. The faults of this proof, one a line."""
    faults = []
    before = run(None)
    if before:
        faults.append(f"without any waste it fails already: {', '.join(before)}")
    for waste, names in BITES.items():
        failed = run(waste)
        print(f"proof: one of {waste} more in each turn fails {', '.join(n for n in names if n in failed) or 'nothing'}")
        faults += [f"one of {waste} more in each turn: {name} does not fail, its ceiling has room: scripts/bench/budgets --tighten"
                   for name in names if name not in failed]
    return faults
