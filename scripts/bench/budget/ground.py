"""What is measured stands here: a folder of its own, a small environment, the binary, the helpers in C."""

import os
import shutil
import subprocess
import tempfile

from budget import trace

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOT = os.path.dirname(os.path.dirname(HERE))
NULL = subprocess.DEVNULL


class Ground:
    """Everything of one run that is not a measure."""

    def __init__(self, binary, counted=None, waste=None):
        self.dir = tempfile.mkdtemp(prefix="budgets-")
        os.mkdir(self.path("empty"))
        os.mkdir(self.path("bin"))
        self.binary = self.copy(binary, "watchdog")
        # The second of two directories, and the same settings for everybody.
        self.env = {
            "PATH": f"{self.path('empty')}:{self.path('bin')}", "HOME": "/", "LANG": "C",
            "WATCHDOG_RUNTIME_DIR": self.path("run"), "XDG_STATE_HOME": self.path("state"),
        }
        if waste:
            self.env["BUDGETS_WASTE"] = waste
        # The build that counts allocations; without it they are not measured.
        self.counted = counted and self.copy(counted, "counted")
        self.puppet = self.tool("puppet.c", "puppet")
        self.traces = 0
        self.strace_path = shutil.which("strace")
        if not self.strace_path:
            raise SystemExit("budgets: strace is needed")

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def fresh(self, name):
        """An empty folder."""
        shutil.rmtree(self.path(name), ignore_errors=True)
        os.mkdir(self.path(name))
        return self.path(name)

    def close(self):
        shutil.rmtree(self.dir, ignore_errors=True)

    def copy(self, binary, name):
        """A file of its own, since pages that another process maps as well would count by half. Written page by page: a
        kernel that keeps a file in larger pieces maps more of it with each fault, and how it keeps it is chance."""
        with open(binary, "rb") as source, open(self.path(name), "wb", buffering=0) as copy:
            while page := source.read(4096):
                copy.write(page)
        os.chmod(self.path(name), 0o755)
        return self.path(name)

    def tool(self, source, out, *flags):
        """A helper of ours, static: what its own loading costs is not the measure."""
        compiler = shutil.which("cc") or shutil.which("gcc")
        if not compiler:
            raise SystemExit("budgets: a C compiler (cc) is needed for the workers")
        out = self.path(out)
        subprocess.run([compiler, "-O2", "-static", *flags, "-o", out, os.path.join(HERE, source)], check=True)
        return out

    def strace(self, follow):
        """The words before a command, and the file that gets its calls. `follow`: its children too."""
        self.traces += 1
        out = self.path(f"trace-{self.traces}")
        return [self.strace_path, *(["-f"] if follow else []), "-ttt", "-s", "64", "-o", out], out

    def traced(self, command):
        """The calls of a command that ends by itself: (its own, those of the others)."""
        words, out = self.strace(True)
        done = subprocess.run([*words, *command], env=self.env, stdin=NULL, stdout=NULL, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"budgets: {command} ended with {done.returncode}: {done.stderr.strip()}")
        with open(out) as file:
            found = trace.calls(file.read())
        # Its execve belongs to the process that starts it.
        own = [call for call in found if call.pid == found[0].pid][1:]
        return own, [call for call in found if call.pid != found[0].pid]
