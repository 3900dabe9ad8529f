"""What one event costs: a beat, a probe, a line of output, a scrape, a minute in which nothing happens."""

import os
import socket
import threading
import time

from budget.life import KINDS, Life

PLAIN = ["--log-level", "error", "--no-progress", "--output", "none"]


def counted(ground, groups, scenario, *more):
    """One scenario in each way of counting: `group.kind` -> per event. A scenario gives a number for each group."""
    found = {}
    for kind in KINDS:
        if kind == "allocations" and not ground.counted:
            continue
        for group, value in zip(groups, scenario(ground, kind, *more)):
            found[f"{group}.{kind}"] = value
    return found


def prefix(ground, *settings):
    """The prefix form with the puppet."""
    return [*settings, "--", ground.puppet, "@/in", "@/out"]


def up(ground, text):
    """One service of a file, with the puppet and more of its table."""
    path = ground.path("one.toml")
    with open(path, "w") as file:
        text = f'[watchdog]\nname = "one"\n[service.one]\ncommand = ["{ground.puppet}", "@/in", "@/out"]\n{text}\n'
        file.write(text.replace("@", ground.path("life")))
    return path


def beats(ground):
    return counted(ground, ["beat-notify"], notify_beats) | counted(ground, ["beat-native"], native_beats)


def notify_beats(ground, kind):
    with Life(ground, kind, prefix(ground)) as life:
        life.hear("s")
        life.order("n", 5)
        first = life.mark()
        life.order("n", 20)
        return [life.between(first, life.mark(), 20)]


def native_beats(ground, kind):
    with Life(ground, kind, prefix(ground, "--heartbeat-interval", "100ms")) as life:
        life.hear("s")
        life.order("h")
        life.hear("b", 3)
        first = life.mark(0.02)
        life.hear("b", 10)
        return [life.between(first, life.mark(0.02), 10)]


def output(ground):
    found = {}
    for name, settings in {"tee": ["--log", "tee"], "capture": ["--log", "capture"],
                           "file": ["--log", "capture", "--log-file", "@/log"]}.items():
        found |= counted(ground, [f"line-{name}", f"mib-{name}"], lines, settings)
    return found


def lines(ground, kind, settings):
    """(of a line for itself, of a MiB of lines that are written as fast as they are taken)."""
    with Life(ground, kind, prefix(ground, *settings)) as life:
        life.hear("s")
        life.order("m")
        life.order("l", 5)
        marks = [life.mark()]
        life.order("l", 20)
        marks.append(life.mark())
        for _ in range(25):
            life.order("m")
            marks.append(life.mark())
        # How full the pipe is at a read is chance: the fewest of several.
        mib = min(life.between(first, second, 1) for first, second in zip(marks[1:], marks[2:]))
        return [life.between(marks[0], marks[1], 20), mib]


def scrapes(ground):
    return counted(ground, ["scrape", "scrape-again"], scrape)


def scrape(ground, kind):
    """(of one that measures, of one that follows within the same second)."""
    port = free_port()
    with Life(ground, kind, prefix(ground, "--http", f"127.0.0.1:{port}")) as life:
        life.hear("s")
        ask(life, port)
        ask(life, port)
        time.sleep(1.2)
        marks = [life.mark()]
        for _ in range(2):
            ask(life, port)
            time.sleep(1.2)
        marks.append(life.mark())
        ask(life, port)
        marks.append(life.mark())
        for _ in range(5):
            ask(life, port)
        marks.append(life.mark())
        return [life.between(marks[0], marks[1], 2), life.between(marks[2], marks[3], 5)]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def ask(life, port):
    """Each step after the watchdog has come to rest from the one before: so it is always as many turns."""
    with socket.create_connection(("127.0.0.1", port), 20) as client:
        life.mark()
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b""
        while piece := client.recv(1 << 20):
            answer += piece
        life.mark()
    life.mark()
    if b" 200 " not in answer[:16]:
        raise SystemExit(f"budgets: /metrics answered {answer[:60]}")


def probes(ground):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        threading.Thread(target=accept, args=(server, ground), daemon=True).start()
        found = counted(ground, ["probe-tcp"], probe, f"tcp://127.0.0.1:{port}")
        server.shutdown(socket.SHUT_RDWR)
    return found | counted(ground, ["probe-exec"], probe, f"exec:{ground.puppet} tick @/out")


def probe(ground, kind, check):
    table = f'[[service.one.probe]]\ncheck = "{check}"\ninterval = "200ms"\nstarting_interval = "200ms"\n'
    with Life(ground, kind, ["up", "-f", up(ground, table), *PLAIN]) as life:
        life.hear("t", 3)
        first = life.mark(0.05)
        life.hear("t", 8)
        return [life.between(first, life.mark(0.05), 8)]


def accept(server, ground):
    """Says `t` into the FIFO of the life of the moment for each connection."""
    while True:
        try:
            client, _ = server.accept()
        except OSError:
            return
        client.close()
        out = os.open(ground.path("life", "out"), os.O_RDWR | os.O_NONBLOCK)
        os.write(out, b"t")
        os.close(out)


def idle(ground):
    """Of some seconds, by the minute. Wake-ups and calls only: where there are none, nothing is allocated either."""
    seconds = 5
    found = {}
    for kind in KINDS[:2]:
        with Life(ground, kind, prefix(ground)) as life:
            life.hear("s")
            first = life.mark(0.5)
            found[f"idle-minute.{kind}"] = life.between(first, life.mark(seconds), seconds / 60)
    return found
