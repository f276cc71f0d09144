"""What every asker in Python does: it follows the orders that come on stdin, one line of JSON each, and says what they came to.

cli/src/bench/requests/asker.rs says how.
"""
import json
import os
import signal
import subprocess
import sys
import threading
import time

LIMIT_S = 30


def say(what):
    print(json.dumps(what), flush=True)


def end_with_stdin():
    """For a worker: a SIGTERM to itself once whoever started it wants it to end, or is no more."""
    def wait():
        # Not by way of sys.stdin, whose lock a process that is forked off meanwhile would wait for without end.
        while os.read(0, 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


class Worker:
    """A worker in a process beneath this one; it ends when its stdin does, which is when this process does at the latest."""

    def __init__(self, *args):
        self.process = subprocess.Popen(
            [sys.executable, *args], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)

    def check(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"the worker ended: {self.process.returncode}")

    def end(self):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


class Round:
    """What one order comes to: the phases that it goes through, and who has ended in which."""

    def __init__(self, order):
        self.in_flight = order["in_flight"]
        self.text = "x" * order["bytes"]
        self.asked = 0
        self.took_us = []
        now = time.perf_counter()
        self.counts_from = now + order["warm_up_ms"] / 1000
        self.counts_to = self.counts_from + order["window_ms"] / 1000
        self.began = None
        self.took_s = None

    def ended(self, began, reply):
        """A request that began then has ended; says whether another is to be sent."""
        if reply != self.text:
            raise RuntimeError(f"the reply is {reply!r}, {self.text} was sent")
        now = time.perf_counter()
        self.asked += 1
        if self.took_s is not None:
            return False
        if self.began is None:
            if now >= self.counts_from:
                self.began = now
            return True
        self.took_us.append((now - began) * 1e6)
        if now >= self.counts_to and (len(self.took_us) >= self.in_flight or now >= self.began + LIMIT_S):
            self.took_s = now - self.began
        return self.took_s is None

    def figures(self):
        took = sorted(self.took_us)
        return {"done": len(took), "asked": self.asked, "took_s": self.took_s,
                "p50_us": quantile(took, 0.5), "p99_us": quantile(took, 0.99)}


def quantile(took, share):
    """Between two samples where it falls there; 0 where there are none: as figures.rs has it."""
    if not took:
        return 0
    place = share * (len(took) - 1)
    low = int(place)
    high = min(low + 1, len(took) - 1)
    return took[low] + (took[high] - took[low]) * (place - low)


def orders():
    """The orders, until stdin ends."""
    for line in sys.stdin:
        yield json.loads(line)
