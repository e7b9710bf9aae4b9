"""The article's order service on FastAPI and asyncpg, under uvicorn with uvloop."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import orjson
import redis.asyncio
from fastapi import FastAPI, Response
from pydantic import BaseModel, Field

from bench.peers.snowflake import Snowflake

snowflake = Snowflake()
TAKE = "UPDATE product SET stock = stock - $2 WHERE sku = $1 AND stock >= $2 RETURNING price_minor"
WRITE = (
    "INSERT INTO purchase (id, customer, sku, quantity, total_minor) VALUES ($1, $2, $3, $4, $5)"
)


class OrderIn(BaseModel):
    """An order as it is sent."""

    customer: str
    sku: str
    quantity: int = Field(ge=1)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Hold the pools as long as the process serves."""
    app.state.pool = await asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=2, max_size=10)
    app.state.cache = redis.asyncio.Redis.from_url(os.environ["REDIS_URL"])
    yield
    await app.state.pool.close()
    await app.state.cache.aclose()


app = FastAPI(lifespan=lifespan)


@app.post("/orders")
async def place(sent: OrderIn) -> Response:
    """Take the stock, write the order, update the cache."""
    order_id = snowflake.next_id()
    async with app.state.pool.acquire() as connection, connection.transaction():
        price_minor = await connection.fetchval(TAKE, sent.sku, sent.quantity)
        if price_minor is None:
            return Response(b'{"error":"insufficient_stock"}', 409, media_type="application/json")
        total_minor = price_minor * sent.quantity
        await connection.execute(
            WRITE, order_id, sent.customer, sent.sku, sent.quantity, total_minor
        )
    body = orjson.dumps({"id": order_id, **sent.model_dump(), "total_minor": total_minor})
    await app.state.cache.set(f"order:{order_id}", body, ex=300)
    return Response(body, 201, media_type="application/json")


@app.get("/orders/{order_id}")
async def retrieve(order_id: int) -> Response:
    """Return an order from Redis."""
    body = await app.state.cache.get(f"order:{order_id}")
    if body is None:
        return Response(b'{"error":"not_found"}', 404, media_type="application/json")
    return Response(body, media_type="application/json")


@app.get("/livez")
async def livez() -> str:
    """Say that it serves."""
    return "ok"
