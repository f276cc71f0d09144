"""Jobs a second through Celery: a worker of its own, acknowledging late, and this process that adds jobs.

python celery_arm.py <port> <jobs>
"""
import os
import subprocess
import sys
import time

import redis
from celery import Celery

app = Celery("celery_arm", broker=f"redis://127.0.0.1:{os.environ.get('BENCH_PORT', '0')}/0")
app.conf.update(task_acks_late=True, task_ignore_result=True, worker_prefetch_multiplier=16)


@app.task
def job(n):
    return n


def main():
    port, jobs = int(sys.argv[1]), int(sys.argv[2])
    client = redis.Redis(port=port)
    worker = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "celery_arm", "worker", "--concurrency", "2", "--loglevel", "ERROR",
         "--without-gossip", "--without-mingle", "--without-heartbeat"],
        cwd=os.path.dirname(os.path.abspath(__file__)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        # The worker is there once it has taken one.
        job.delay(0)
        deadline = time.monotonic() + 60
        while client.llen("celery") or client.hlen("unacked"):
            if worker.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the worker did not come up")
            time.sleep(0.01)
        began = time.monotonic()
        for n in range(jobs):
            job.delay(n)
        while client.llen("celery") or client.hlen("unacked"):
            time.sleep(0.002)
        print(round(jobs / (time.monotonic() - began)))
    finally:
        worker.terminate()
        worker.wait(30)


if __name__ == "__main__":
    os.environ["BENCH_PORT"] = sys.argv[1]
    app.conf.broker_url = f"redis://127.0.0.1:{sys.argv[1]}/0"
    main()
