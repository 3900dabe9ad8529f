"""`watchdog -- true`, and the binary itself."""

import os
import shutil
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
        "prefix.instructions": instructions(ground, command),
    }


def page_faults(ground, command):
    """The fewest of many runs: the stack begins at another place in each."""
    tool = ground.tool("faults.c", "faults")
    done = subprocess.run([tool, "30", *command], env=ground.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True)
    return min(int(line) for line in done.stdout.split())


def instructions(ground, command):
    """In user mode, children included; None where the machine does not count them."""
    perf = shutil.which("perf")
    if not perf:
        return None
    out = ground.path("perf")
    done = subprocess.run([perf, "stat", "-x", ",", "-e", "instructions:u", "-o", out, *command], env=ground.env,
                          stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode != 0:
        return None
    with open(out) as file:
        return next((int(line.split(",")[0]) for line in file if line.split(",")[0].isdigit()), None)


def size(ground):
    """Bytes of the binary, as it is shipped: without symbols."""
    out = ground.path("stripped")
    if subprocess.run(["strip", "-o", out, ground.binary], check=False).returncode != 0:
        out = ground.binary
    return {"binary.bytes": os.path.getsize(out)}
