#!/usr/bin/env python3
"""An agent of a Synod mesh, in Python, on nothing but a Kafka client.

Nothing of Synod's is linked here: this file is all that an agent in any language has to do.

    pip install confluent-kafka
    synod up --endpoints mesh.json &
    examples/foreign_agent.py --endpoints mesh.json

    curl -s "$(jq -r .http mesh.json)/v1/tasks?wait_ms=10000" -H 'content-type: application/json' \\
         -d '{"capability": "text.upper", "input": {"text": "hello"}}'

It registers, gives a sign of life each second, takes tasks from a topic of its own and reports what
came of them, until Ctrl-C (or for --tasks N). On a mesh with real brokers: --brokers HOST:PORT.
"""

import argparse
import json
import signal
import threading
import uuid
from datetime import datetime, timezone

from confluent_kafka import Consumer, KafkaError, Producer

COMMANDS, HEARTBEATS = "synod.commands.v1", "synod.heartbeats.v1"


class Agent:
    def __init__(self, brokers, agent_id, capability):
        self.id, self.capability, self.topic = agent_id, capability, f"synod.inbox.{agent_id}"
        self.incarnation = str(uuid.uuid4())  # this start of the process; the mesh ends an older one's attempts
        self.in_flight = {}  # (task_id, attempt) by task_id; told with every heartbeat
        self.stopping = threading.Event()
        # librdkafka tries again by itself; unasked it would log each attempt, twenty a second.
        common = {"bootstrap.servers": brokers, "log_level": 2}
        # The mesh finds an entity by murmur2 of its id; librdkafka's own default is another hash.
        self.producer = Producer({**common, "partitioner": "murmur2_random", "enable.idempotence": True})
        # The coordinator makes the topic when it has something for us. Until then it is merely asked for.
        self.consumer = Consumer({**common, "error_cb": self.trouble, "group.id": f"agent-{agent_id}",
                                  "auto.offset.reset": "earliest",
                                  "session.timeout.ms": 6000,  # so long the end waits for a Kafka that is gone; the default is 45 s
                                  "allow.auto.create.topics": False, "topic.metadata.refresh.interval.ms": 500,
                                  "fetch.wait.max.ms": 50})  # the embedded mesh's Kafka lets an idle fetch wait so long

    def trouble(self, error):
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            print("Kafka is away; it is tried again until it is back", flush=True)

    def send(self, topic, ce_type, key, value, trace=()):
        """One CloudEvent. `ce_id` makes it idempotent: librdkafka may send it twice, it is done once."""
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        headers = {"ce_specversion": "1.0", "ce_id": str(uuid.uuid4()), "ce_source": f"/agents/{self.id}",
                   "ce_type": ce_type, "ce_time": now, "content-type": "application/json"}
        self.producer.produce(topic, key=key, value=json.dumps(value), headers=list(headers.items()) + list(trace))
        self.producer.poll(0)

    def beat(self):
        """Three missed in a row and the mesh gives our tasks to others. Its own thread: work may take long."""
        while not self.stopping.wait(1.0):
            held = [{"task_id": task, "attempt": attempt} for task, attempt in list(self.in_flight.values())]
            value = {"agent_id": self.id, "incarnation": self.incarnation, "in_flight": held}
            self.send(HEARTBEATS, "synod.agent.heartbeat", self.id, value)

    def work(self, given):
        """The agent's own business: text in capitals."""
        if not isinstance(given, dict) or not isinstance(given.get("text"), str):
            raise ValueError('the input should be {"text": "..."}')
        return {"text": given["text"].upper()}

    def take(self, message):
        headers = message.headers() or []
        if dict(headers).get("ce_type") != b"synod.task.assigned":
            return False  # cancelled or withdrawn: the work here is too short to be taken back
        task = json.loads(message.value())
        if task["incarnation"] != self.incarnation:
            return False  # it was for an earlier start of this program, and is somebody else's by now
        self.in_flight[task["task_id"]] = (task["task_id"], task["attempt"])
        told = {name: task[name] for name in ("task_id", "attempt", "attempt_token")}
        trace = [(name, value) for name, value in headers if name in ("traceparent", "tracestate", "synod-correlation-id", "synod-workspace")]
        try:
            self.send(COMMANDS, "synod.task.complete", message.key(), {**told, "output": self.work(task["input"])}, trace)
        except ValueError as error:  # the same input would fail again, so it is not to be retried
            said = {"code": "bad_input", "message": str(error), "retryable": False}
            self.send(COMMANDS, "synod.task.fail", message.key(), {**told, "error": said}, trace)
        self.producer.flush(30)
        del self.in_flight[task["task_id"]]
        print(f"{task['task_id']} attempt {task['attempt']}", flush=True)
        return True

    def run(self, tasks):
        self.consumer.subscribe([self.topic])
        self.send(COMMANDS, "synod.agent.register", self.id, {
            "agent_id": self.id, "incarnation": self.incarnation, "capabilities": [self.capability],
            "max_concurrency": 8, "delivery": {"kafka": {"topic": self.topic}}, "description": "examples/foreign_agent.py"})
        heart = threading.Thread(target=self.beat)
        heart.start()
        print(f"{self.id} offers {self.capability}", flush=True)
        done = 0
        while not self.stopping.is_set() and (tasks is None or done < tasks):
            message = self.consumer.poll(0.2)
            if message is None:
                continue
            if message.error() is None:
                done += self.take(message)
            elif message.error().code() not in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
                print(f"Kafka: {message.error()}", flush=True)  # librdkafka tries again by itself
        self.stopping.set()
        heart.join()
        self.send(COMMANDS, "synod.agent.deregister", self.id, {"agent_id": self.id, "incarnation": self.incarnation})
        self.producer.flush(10)
        self.consumer.close()


def main():
    words = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    where = words.add_mutually_exclusive_group(required=True)
    where.add_argument("--endpoints", help="the file that `synod up --endpoints` writes")
    where.add_argument("--brokers", help="bootstrap servers, HOST:PORT")
    words.add_argument("--id", default=f"foreign-{uuid.uuid4().hex[:8]}", help="the agent's id")
    words.add_argument("--capability", default="text.upper")
    words.add_argument("--tasks", type=int, help="end after so many tasks")
    args = words.parse_args()
    brokers = args.brokers
    if not brokers:
        with open(args.endpoints, encoding="utf-8") as file:
            brokers = json.load(file)["kafka"]
    agent = Agent(brokers, args.id, args.capability)
    for end in (signal.SIGINT, signal.SIGTERM):
        signal.signal(end, lambda *_: agent.stopping.set())
    agent.run(args.tasks)


if __name__ == "__main__":
    main()
