"""`watchdog -- true`, and the binary itself."""

import os
import subprocess


def prefix(ground):
    """Calls and page faults of the watchdog alone, and the calls of its child up to the exec."""
    ground.tool("true.c", "bin/true", "-nostdlib")
    command = [ground.binary, "--", "true"]
    ground.traced(command)  # makes the directories that are there afterwards
    own, others = ground.traced(command)
    child = []
    for call in others:
        child.append(call)
        if call.name == "execve" and call.result == 0:
            break
    return {
        "prefix.calls": len(own),
        "prefix.child-calls": len(child),
        "prefix.faults": page_faults(ground, command),
    }


def page_faults(ground, command):
    """The fewest of many runs: the stack begins at another place in each."""
    return min(own(ground, "faults", 30, command))


def instructions(ground):
    """In user mode, counted one by one: slow, and on every machine the same but for a few names that are made at random."""
    ground.tool("true.c", "bin/true", "-nostdlib")
    return {"prefix.instructions": own(ground, "instructions", 1, [ground.binary, "--", "true"])[0]}


def own(ground, what, rounds, command):
    tool = ground.tool("own.c", "own")
    done = subprocess.run([tool, what, str(rounds), *command], env=ground.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"budgets: {what} of {command} could not be counted")
    return [int(line) for line in done.stdout.split()]


def size(ground):
    """Bytes of the binary, as it is shipped: without symbols."""
    out = ground.path("stripped")
    if subprocess.run(["strip", "-o", out, ground.binary], check=False).returncode != 0:
        out = ground.binary
    return {"binary.bytes": os.path.getsize(out)}
