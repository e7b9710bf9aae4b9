"""
Five receivers in a process of their own: healthy, slow, half broken, dead for a while, asking for
peace. Each call is one line of a log: which receiver, the event, and when it came. What the API
said when the healthy one asked for an order at once is a line too, a number.

Run as a program: tests.faults.receivers LOG TROUBLE_S API_PORT API_KEY; prints the ports, then
reads the secret of each from stdin.
"""

import asyncio
import json
import sys
import time

from standardwebhooks.webhooks import Webhook

from tests.commands.processes import free_port
from tests.load import Caller

NAMES = ("healthy", "slow", "half", "dead", "asking")
# Of the healthy one's orders, how many are asked for at once.
ASKED_EVERY = 5


class Receivers:
    def __init__(self, log, trouble_s, api_port, api_key, secrets):
        self.log = open(log, "w", encoding="utf-8", buffering=1)  # noqa: SIM115 - until the end
        self.trouble_until = time.time() + trouble_s
        self.api = Caller(api_port)
        self.api_key = api_key
        self.verifiers = [Webhook(secret) for secret in secrets]
        self.calls = [0] * len(NAMES)
        self.questions = set()

    async def serve(self, which, reader, writer):
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                headers = {
                    name.lower(): text
                    for name, _, text in (line.partition(": ") for line in head.split("\r\n")[1:])
                }
                body = await reader.readexactly(int(headers["content-length"]))
                status, more = await self.answer(which, headers, body)
                writer.write(f"HTTP/1.1 {status} x\r\n{more}Content-Length: 0\r\n\r\n".encode())
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            writer.close()

    async def answer(self, which, headers, body):
        event = self.verifiers[which].verify(body, headers)
        at = time.time()
        self.calls[which] += 1
        name, is_trouble = NAMES[which], at < self.trouble_until
        status, more = 200, ""
        if name == "slow" and is_trouble:
            await asyncio.sleep(20)
        elif name == "half" and self.calls[which] % 2:
            status = 500
        elif name == "asking" and is_trouble and at % 6 < 2:
            status, more = 429, "Retry-After: 1\r\n"
        line = (name, status, headers["webhook-id"], event["subject"], event["aggregateversion"])
        self.log.write(json.dumps([*line, event["time"], at, event["id"]]) + "\n")
        if name == "healthy" and self.calls[which] % ASKED_EVERY == 0 and not self.questions:
            # As a receiver should: it answers first, and works afterwards.
            question = asyncio.create_task(self.get(event["data"]["id"]))
            self.questions.add(question)
            question.add_done_callback(self.questions.discard)
        return status, more

    async def get(self, order_id):
        reply = await self.api.send(
            f"GET /api/v1/orders/{order_id} HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer {self.api_key}\r\n\r\n".encode()
        )
        self.log.write(f"{reply.status}\n")


async def main(log, trouble_s, api_port, api_key):
    ports = [free_port() for _ in NAMES]
    sys.stdout.write(json.dumps(ports) + "\n")
    sys.stdout.flush()
    secrets = json.loads(sys.stdin.readline())
    receivers = Receivers(log, float(trouble_s), int(api_port), api_key, secrets)

    async def listen(which):
        if NAMES[which] == "dead":
            await asyncio.sleep(float(trouble_s))
        await asyncio.start_server(
            lambda reader, writer: receivers.serve(which, reader, writer),
            "127.0.0.1",
            ports[which],
            limit=2**20,
        )

    await asyncio.gather(*(listen(which) for which in range(len(NAMES))))
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
