"""Says commands and reads events with nothing but the official CloudEvents SDK and a plain Kafka client.

usage: cloudevents_sdk.py BROKERS HTTP TASK

Submits TASK over HTTP in structured mode, reports about it in binary mode, cancels it through Kafka, and prints each
event about it as one line of JSON, as the SDK reads it, until it is cancelled.
"""

import json
import sys
import time
import urllib.request
import uuid

from cloudevents.core.bindings import http, kafka
from cloudevents.core.v1.event import CloudEvent
from confluent_kafka import Consumer, Producer

LIMIT_S = 60


def command(ce_type, data, **extensions):
    attributes = {"specversion": "1.0", "id": str(uuid.uuid4()), "source": "/cloudevents-sdk", "type": ce_type,
                  "datacontenttype": "application/json", **extensions}
    return CloudEvent(attributes=attributes, data=data)


def post(base, message):
    body = message.body if isinstance(message.body, bytes) else message.body.encode()
    request = urllib.request.Request(f"{base}/v1/commands", data=body, headers=message.headers, method="POST")
    with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
        return json.load(answer)


def main(brokers, base, task):
    submit = command("synod.task.submit", {"task_id": task, "capability": "nobody.has.this", "input": {"n": 1}})
    submitted = post(base, http.to_structured_event(submit))
    assert submitted["status"] == "waiting", submitted
    # The same command once more in the other mode does nothing twice.
    again = post(base, http.to_binary_event(submit))
    assert again["task_id"] == task, again

    cancel = kafka.to_binary_event(command("synod.task.cancel", {"task_id": task, "reason": "seen"}, partitionkey=task))
    producer = Producer({"bootstrap.servers": brokers, "partitioner": "murmur2_random"})
    producer.produce("synod.commands.v1", key=cancel.key, value=cancel.value, headers=list(cancel.headers.items()))
    producer.flush(LIMIT_S)

    consumer = Consumer({"bootstrap.servers": brokers, "group.id": str(uuid.uuid4()), "auto.offset.reset": "earliest"})
    consumer.subscribe(["synod.events.v1"])
    until, seen = time.monotonic() + LIMIT_S, set()
    while time.monotonic() < until:
        record = consumer.poll(0.5)
        if record is None or record.error():
            continue
        # Every record of the topic is read, of whomever it is.
        message = kafka.KafkaMessage(headers=dict(record.headers()), key=record.key(), value=record.value())
        event = kafka.from_binary_event(message)
        if event.get_subject() != task or event.get_id() in seen:
            continue
        seen.add(event.get_id())
        shown = {"id": event.get_id(), "source": event.get_source(), "type": event.get_type(),
                 "subject": event.get_subject(), "time_ms": round(event.get_time().timestamp() * 1000),
                 "datacontenttype": event.get_datacontenttype(), "key": event.get_extension("partitionkey"),
                 "data": event.get_data()}
        print(json.dumps(shown), flush=True)
        if event.get_type() == "synod.task.cancelled":
            return
    sys.exit(f"{task} was not seen to be cancelled within {LIMIT_S} s")


main(*sys.argv[1:])
