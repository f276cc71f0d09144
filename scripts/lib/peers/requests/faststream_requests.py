"""Requests through FastStream on Kafka: a topic of requests, a topic of replies, and the correlation id between them.

python faststream_requests.py asker|worker <Kafka> <name of the topics> <workers>

FastStream's `request` is not for Kafka (it says so); its `reply_to` is.
"""
import asyncio
import os
import sys
import time
import uuid

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from faststream import FastStream
from faststream.kafka import KafkaBroker, KafkaMessage

from asker import LIMIT_S, Round, Worker, end_with_stdin, orders, say

role, servers, name, workers = sys.argv[1:]
requests, replies = f"{name}.requests", f"{name}.replies"
PARTITIONS = 8
broker = KafkaBroker(servers, acks="all", enable_idempotence=True, logger=None)


async def work():
    @broker.subscriber(requests, group_id=requests, auto_offset_reset="earliest", max_workers=int(workers))
    async def echo(text: str) -> str:
        return text

    await FastStream(broker, logger=None).run()


async def make_topics():
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, PARTITIONS, 1) for topic in (requests, replies)])
    finally:
        await admin.close()


async def follow(ask, order):
    measured = Round(order)

    async def one_by_one():
        while True:
            began = time.perf_counter()
            if not measured.ended(began, await ask(measured.text)):
                return

    await asyncio.gather(*(one_by_one() for _ in range(measured.in_flight)))
    return measured.figures()


async def main():
    await make_topics()
    worker = Worker(os.path.abspath(__file__), "worker", servers, name, workers)
    waiting = {}

    @broker.subscriber(replies, auto_offset_reset="earliest")
    async def reply(text: str, message: KafkaMessage) -> None:
        waiting.pop(message.correlation_id).set_result(text)

    async def ask(text):
        correlation = uuid.uuid4().hex
        answer = waiting[correlation] = asyncio.get_running_loop().create_future()
        async with asyncio.timeout(LIMIT_S):
            await broker.publish(text, requests, reply_to=replies, correlation_id=correlation)
            return await answer

    await broker.start()
    await ask("x")
    say({"ready": True})
    lines = iter(orders())
    while (order := await asyncio.to_thread(next, lines, None)) is not None:
        say(await follow(ask, order))
        worker.check()
    await broker.stop()
    worker.end()


if role == "worker":
    end_with_stdin()
    asyncio.run(work())
else:
    try:
        asyncio.run(main())
    except Exception as error:
        say({"error": f"{type(error).__name__}: {error}"})
        raise
