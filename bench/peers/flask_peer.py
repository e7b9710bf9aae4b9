"""The article's order service on Flask and SQLAlchemy: WSGI under gunicorn's threads."""

import os

import redis
from flask import Flask, Response, jsonify, request
from sqlalchemy import create_engine, text

from bench.peers.snowflake import Snowflake

app = Flask(__name__)
engine = create_engine(
    os.environ["DATABASE_URL"].replace("postgres", "postgresql+psycopg", 1),
    pool_size=10,
    max_overflow=0,
)
cache = redis.Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)
snowflake = Snowflake()

TAKE = text(
    "UPDATE product SET stock = stock - :quantity WHERE sku = :sku AND stock >= :quantity"
    " RETURNING price_minor"
)
WRITE = text(
    "INSERT INTO purchase (id, customer, sku, quantity, total_minor)"
    " VALUES (:id, :customer, :sku, :quantity, :total_minor)"
)


@app.post("/orders")
def place() -> tuple[Response, int]:
    """Take the stock, write the order, update the cache."""
    sent = request.get_json()
    order_id = snowflake.next_id()
    with engine.begin() as connection:
        row = connection.execute(TAKE, {"sku": sent["sku"], "quantity": sent["quantity"]}).first()
        if row is None:
            return jsonify(error="insufficient_stock"), 409
        order = {
            "id": order_id,
            "customer": sent["customer"],
            "sku": sent["sku"],
            "quantity": sent["quantity"],
            "total_minor": row.price_minor * sent["quantity"],
        }
        connection.execute(WRITE, order)
    answer = jsonify(order)
    cache.setex(f"order:{order_id}", 300, answer.get_data(as_text=True))
    return answer, 201


@app.get("/livez")
def livez() -> str:
    """Say that it serves."""
    return "ok"
