"""
How a worker follows the rules: pushed by Redis, polled from Redis and the database.

The database is the truth. Redis makes it fast; a file, and rules that Redis kept, make it start
without the database. Readers never wait: a new snapshot is put in place by one store.
"""

import contextlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis
from django.db import connection as database

from rollout import announcing, metrics, storage
from rollout.document import canonical, checksum_of, read_document
from rollout.errors import InvalidRuleSet, UnknownSchema
from rollout.runtime import Runtime

POLL_S = 1.0
DATABASE_POLL_S = 5.0
RECONNECT_S_MAX = 5.0

log = logging.getLogger("rollout")


class Watcher:
    """Keeps one process's rules up to date. One thread listens, another polls."""

    def __init__(
        self,
        runtime: Runtime,
        *,
        worker: str,
        last_known_good: Path | None = None,
        connect: Callable[[], "redis.Redis | None"] = announcing.client,
        on_breakers: Callable[[], object] = lambda: None,
    ) -> None:
        self.runtime = runtime
        self.worker = worker
        self.last_known_good = last_known_good
        self.on_breakers = on_breakers
        self._connect = connect
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        # Loading waits for the database; without this two greenlets would load at once.
        self._loading = threading.Lock()
        self._refused: int | None = None
        self._is_deaf = False
        self._trouble: dict[str, str] = {}

    # --- Start and stop -----------------------------------------------------------------------

    def boot(self) -> None:
        """
        Load rules before the first request.

        From the database; else what Redis kept, else the last good ones in the file, both marked
        stale; else everything is stable, reason STATIC. Never raises.
        """
        if self.look_at_database():
            return
        told = self._ask_redis()
        if told is not None and self._load_from_redis(told, stale=True):
            return
        self._load_from_file()

    def start(self) -> None:
        """Begin to follow."""
        for work in (self._listen, self._poll):
            thread = threading.Thread(target=work, name=f"rollout{work.__name__}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """End both threads; for tests and a clean exit."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(timeout=5)

    # --- Following ----------------------------------------------------------------------------

    def follow(self, generation: int, published_at_s: float | None = None) -> None:
        """Load a generation that somebody told of, unless a newer one is in force."""
        with self._loading:
            if not self._is_news(generation):
                return
            if self._load_from_redis(generation) or self._load_from_database():
                self._acknowledge(published_at_s)

    def look_at_database(self) -> bool:
        """Load what the database has in force; return False when it cannot be asked."""
        try:
            generation = storage.get_generation()
            with self._loading:
                if self._is_news(generation) and self._load_from_database():
                    self._acknowledge(None)
            followed = self.runtime.snapshot
            metrics.WORKERS_CONVERGED.set(followed.generation >= generation and not followed.stale)
        except Exception as failure:  # noqa: BLE001 - the process edge: any trouble means later
            self._say("database", f"{type(failure).__name__}: {failure}")
            return False
        else:
            self._say("database", "")
            return True
        finally:
            # This thread's connection goes back to the pool, or a pool of few would be short.
            with contextlib.suppress(Exception):
                database.close()

    def _is_news(self, generation: int) -> bool:
        snapshot = self.runtime.snapshot
        if generation == self._refused:
            return False
        if snapshot.stale or (snapshot.is_static and generation == 0):
            return generation >= snapshot.generation
        return generation > snapshot.generation

    def _load_from_database(self) -> bool:
        published = storage.get_published(storage.get_generation())
        if not self._is_news(published.generation):
            return False  # Whoever told of news was wrong, or ahead of this database.
        return self._activate(
            published.generation, dict(published.payload), published.checksum, source="database"
        )

    def _load_from_redis(self, generation: int, *, stale: bool = False) -> bool:
        connection = self._connect()
        if connection is None:
            return False
        try:
            sealed = connection.get(announcing.key(f"snap:{generation}"))
        except redis.RedisError as failure:
            self._say("redis", str(failure))
            return False
        told = announcing.unseal(sealed) if isinstance(sealed, str) else None
        if told is None or told[0] != generation:
            return False
        return self._activate_text(generation, told[1], source="redis", stale=stale)

    def _load_from_file(self) -> bool:
        if self.last_known_good is None:
            return False
        try:
            told = announcing.unseal(self.last_known_good.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            return False
        if told is None:
            log.error("%s is not what was written there: ignored", self.last_known_good)
            return False
        return self._activate_text(*told, source="file", stale=True)

    def _activate_text(self, generation: int, text: str, *, source: str, stale: bool) -> bool:
        payload = json.loads(text)
        return self._activate(generation, payload, checksum_of(payload), source=source, stale=stale)

    def _activate(
        self,
        generation: int,
        payload: dict[str, Any],
        checksum: str,
        *,
        source: str,
        stale: bool = False,
    ) -> bool:
        if checksum_of(payload) != checksum:
            metrics.count_reload(source, is_loaded=False)
            log.error("generation %s from %s: wrong checksum, ignored", generation, source)
            return False
        try:
            rule_set = read_document(payload)
            self.runtime.activate(
                rule_set,
                generation=generation,
                checksum=checksum,
                stale=stale,
            )
        except (UnknownSchema, InvalidRuleSet) as refusal:
            # Newer code published what this one cannot read: the old rules stay in force.
            self._refused = generation
            metrics.count_reload(source, is_loaded=False)
            log.error("generation %s cannot be used here: %s", generation, refusal)
            return False
        metrics.count_reload(source, is_loaded=True)
        log.info("generation %s in force, from %s", generation, source)
        if not stale:
            self._keep(generation, canonical(payload))
        return True

    def _keep(self, generation: int, text: str) -> None:
        """Write the last known good rules whole or not at all; every worker writes the same."""
        path = self.last_known_good
        if path is None or generation == 0:
            return
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            draft.write_text(announcing.seal(generation, text), encoding="utf-8")
            draft.replace(path)
        except OSError as failure:
            self._say("file", str(failure))

    def _acknowledge(self, published_at_s: float | None) -> None:
        # Found in the database: how long ago it was published is not known, and told as -1.
        lag_ms = -1.0
        if published_at_s is not None:
            lag_ms = max(0.0, time.time() - published_at_s) * 1000
            metrics.RELOAD_LAG.observe(lag_ms / 1000)
        connection = self._connect()
        if connection is None:
            return
        try:
            announcing.acknowledge(
                connection, self.runtime.snapshot.generation, self.worker, lag_ms
            )
        except redis.RedisError as failure:
            self._say("redis", str(failure))

    # --- Push and poll ------------------------------------------------------------------------

    def _listen(self) -> None:
        pause_s = 0.5
        while not self._stopping.is_set():
            connection = self._connect()
            if connection is None:
                return
            try:
                self._hear(connection)
                pause_s = 0.5
            except (redis.RedisError, OSError) as failure:
                self._say("redis", str(failure))
                self._stopping.wait(pause_s)
                pause_s = min(pause_s * 2, RECONNECT_S_MAX)
            except Exception:
                # A thread that dies in silence would be found days later.
                log.exception("listening for rules failed")
                self._stopping.wait(RECONNECT_S_MAX)

    def _hear(self, connection: "redis.Redis") -> None:
        changes, breakers = announcing.key("changes"), announcing.key("breakers")
        with connection.pubsub(ignore_subscribe_messages=True) as channel:  # type: ignore[no-untyped-call]
            channel.subscribe(changes, breakers)
            # What was told between two subscriptions is not told again.
            self.look_at_redis()
            self._is_deaf = False
            while not self._stopping.is_set() and not self._is_deaf:
                message = channel.get_message(timeout=1.0)
                if message is None:
                    continue
                if message["channel"] == breakers:
                    self.on_breakers()
                elif told := announcing.read_told(message["data"]):
                    self._guarded_follow(*told)

    def _poll(self) -> None:
        database_at = time.monotonic() + DATABASE_POLL_S
        while not self._waited():
            has_redis = self.look_at_redis()
            if not has_redis or self.runtime.snapshot.stale or time.monotonic() >= database_at:
                database_at = time.monotonic() + DATABASE_POLL_S
                self.look_at_database()

    def _waited(self) -> bool:
        """Wait for the next look; return whether it is time to stop instead."""
        due_s = time.monotonic() + POLL_S
        is_stopping = self._stopping.wait(POLL_S)
        metrics.EVENT_LOOP_LAG.set(max(0.0, time.monotonic() - due_s))
        return is_stopping

    def look_at_redis(self) -> bool:
        """Follow the generation that Redis knows; return False when it cannot be asked."""
        connection = self._connect()
        if connection is None:
            return False
        try:
            told = announcing.read_told(connection.get(announcing.key("gen")))
        except redis.RedisError as failure:
            self._say("redis", str(failure))
            return False
        self._say("redis", "")
        if told is not None and self._is_news(told[0]):
            before = self.runtime.snapshot.generation
            self._guarded_follow(*told)
            if self.runtime.snapshot.generation > before:
                # Announced but not heard: the subscription is dead, though nothing said so.
                self._is_deaf = True
        return True

    def _ask_redis(self) -> int | None:
        connection = self._connect()
        if connection is None:
            return None
        try:
            told = announcing.read_told(connection.get(announcing.key("gen")))
        except redis.RedisError:
            return None
        return None if told is None else told[0]

    def _guarded_follow(self, generation: int, published_at_s: float | None) -> None:
        try:
            self.follow(generation, published_at_s)
        except Exception as failure:  # noqa: BLE001 - the process edge: the poll tries again
            self._say("database", f"{type(failure).__name__}: {failure}")
        finally:
            with contextlib.suppress(Exception):
                database.close()

    def _say(self, what: str, trouble: str) -> None:
        """Log trouble when it begins and when it ends, not every second."""
        before = self._trouble.get(what, "")
        self._trouble[what] = trouble
        if trouble and not before:
            log.warning("rules cannot be followed by the %s: %s", what, trouble)
        elif before and not trouble:
            log.info("rules are followed by the %s again", what)
