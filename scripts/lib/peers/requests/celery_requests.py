"""Requests through Celery on Redis, with its results there too.

python celery_requests.py asker|worker <port of Redis> <pool> <concurrency>
"""
import os
import sys
import time

from celery import Celery

from asker import LIMIT_S, Round, Worker, end_with_stdin, orders, say

role, port, pool, concurrency = sys.argv[1:]
app = Celery("celery_requests", broker=f"redis://127.0.0.1:{port}/1", backend=f"redis://127.0.0.1:{port}/2")
# A task whose worker dies is done by another, as with the others here.
app.conf.update(task_acks_late=True, worker_prefetch_multiplier=16, broker_connection_retry_on_startup=True, result_expires=3600)


@app.task(name="echo")
def echo(text):
    return text


class Asker:
    """One thread: it sends, and takes what has come of those that it sent; what `get` does for one, for all of them at once."""

    def __init__(self, worker):
        self.worker = worker
        self.came = []
        self.kept = set()

    def send(self, text):
        began = time.perf_counter()
        result = echo.delay(text)
        # Celery itself keeps only weak references to what is waited for.
        self.kept.add(result)
        result.then(lambda done: self.came.append((began, done)))

    def take(self):
        """What has come, at least one."""
        ends = time.monotonic() + LIMIT_S
        while not self.came:
            app.backend.result_consumer.drain_events(timeout=1)
            self.worker.check()
            if time.monotonic() > ends:
                raise RuntimeError(f"no reply within {LIMIT_S} s")
        came, self.came = self.came, []
        for began, done in came:
            self.kept.discard(done)
            if not done.successful():
                raise RuntimeError(f"a request failed: {done.result!r}")
            yield began, done.result

    def follow(self, order):
        measured = Round(order)
        for _ in range(measured.in_flight):
            self.send(measured.text)
        in_flight = measured.in_flight
        while in_flight:
            for began, reply in self.take():
                if measured.ended(began, reply):
                    self.send(measured.text)
                else:
                    in_flight -= 1
        return measured.figures()


def main():
    worker = Worker(os.path.abspath(__file__), "worker", port, pool, concurrency)
    asker = Asker(worker)
    asker.send("x")
    for _ in asker.take():
        say({"ready": True})
    for order in orders():
        say(asker.follow(order))
    worker.end()


if role == "worker":
    end_with_stdin()
    app.worker_main(["worker", "--pool", pool, "--concurrency", concurrency, "--loglevel", "ERROR", "--without-gossip",
                     "--without-mingle", "--without-heartbeat"])
else:
    try:
        main()
    except Exception as error:
        say({"error": f"{type(error).__name__}: {error}"})
        raise
