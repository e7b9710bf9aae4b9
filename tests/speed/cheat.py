"""An order service that cheats in one way, to see whether the benchmark notices: PORT and how."""

import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg

from bench.peers.snowflake import Snowflake

snowflake = Snowflake()
local = threading.local()


def connection(how: str) -> psycopg.Connection:
    """Return this thread's connection."""
    if not hasattr(local, "connection"):
        local.connection = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)
        if how == "without durability":
            local.connection.execute("SET synchronous_commit = off")
    return local.connection


def place(how: str, sent: dict) -> int:
    """Take an order, as badly as told; return its id."""
    order_id = snowflake.next_id()
    if how == "without writing":
        return order_id
    with connection(how).transaction():
        if how != "without stock":
            connection(how).execute(
                "UPDATE product SET stock = stock - %s WHERE sku = %s",
                [sent["quantity"], sent["sku"]],
            )
        connection(how).execute(
            "INSERT INTO purchase (id, customer, sku, quantity, total_minor)"
            " VALUES (%s, 'c-17', %s, %s, 250)",
            [order_id, sent["sku"], sent["quantity"]],
        )
    return order_id


def handler(how: str) -> type[BaseHTTPRequestHandler]:
    """Return what answers each request."""

    class Cheat(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.answer(201, json.dumps({"id": place(how, sent)}).encode())

        def do_GET(self) -> None:
            self.answer(200, b"ok")

        def answer(self, status: int, body: bytes) -> None:
            head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n"
            self.wfile.write(head.encode() + body)

        def log_message(self, *_: object) -> None:
            pass

    return Cheat


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), handler(sys.argv[2])).serve_forever()
