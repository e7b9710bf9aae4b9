"""The server: workers of green threads that share one preloaded, frozen application."""

# ruff: noqa: E402 - whatever is imported before this line would keep blocking sockets.
from gevent import monkey

monkey.patch_all()

import gc
import os
import signal
import sys
import threading
from importlib import import_module
from pathlib import Path
from types import FrameType

import gevent
import psycopg.waiting
from django.conf import settings
from django.core.cache import caches
from django.db import connection
from django.urls import get_resolver
from django.utils.module_loading import import_string
from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker

# gunicorn comes to the project's folder only after it has read this file.
chdir = str(Path(__file__).resolve().parent.parent)
sys.path.insert(0, chdir)

from config import collector, metrics_directory
from config.answers import send_whole_answers
from config.counting import count_cheaply
from config.env import env_address, env_bool, env_int, env_text
from config.lifecycle import leave_politely, start_again, take_over
from config.pools import lend_wrappers, use_the_last_first

# Read by the settings: a pool and short timeouts for whoever serves requests.
os.environ["SLUICE_ROLE"] = "web"

wsgi_app = "config.wsgi:application"
bind = env_text("BIND", default="127.0.0.1:8000").split(",")
metrics_bind = env_address("METRICS_BIND", apart_from=bind)
if metrics_bind:
    bind.append(metrics_bind)  # Any worker answers there, and an upgrade inherits it.
if metrics_bind or env_text("METRICS_TOKEN", default=""):
    metrics_directory.claim(metrics_directory.base_directory(env_text("METRICS_DIR", default="")))
else:
    metrics_directory.disclaim()
count_cheaply()
# Who spawned whom, frame by frame, of each connection: nobody asks, and the collector looks at it.
gevent.config.track_greenlet_tree = False
forwarded_allow_ips = env_text("FORWARDED_ALLOW_IPS", default="127.0.0.1,::1")

worker_class = "config.worker.Worker"
# A worker saturates a core; more of them only share it.
workers = env_int("WEB_CONCURRENCY", default=os.cpu_count() or 1, at_least=1, at_most=256)
# Far more than the gate lets in: who is not accepted waits without an answer, who is accepted is
# refused with one. An idle connection costs a green thread and nothing else.
worker_connections = env_int("WORKER_CONNECTIONS", default=1000, at_least=1)
# What waits to be accepted while a worker is busy for a moment. More would only wait longer.
backlog = 1024

# With reload the workers load the application themselves, each time anew.
reload = env_bool("GUNICORN_RELOAD", default=False)
preload_app = not reload

# Each shorter than the next: an idle connection, our last requests, the orchestrator's patience.
keepalive = 20
graceful_timeout = 30
timeout = 30  # How long a worker may be deaf, not how long a request may take.

# What config.worker leaves to gunicorn is unusual: for that its strict parser, in Python. Whatever
# it refuses is answered in plain text.
http_parser = "python"
limit_request_line = 4094
limit_request_fields = 60
limit_request_field_size = 8190

# Workers beat their heart into a file there: on a disk that beat can stall.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
control_socket_disable = True
# Where an upgrade finds the master.
pidfile = env_text("PID_FILE", default="") or None
# How long a server that was told to end says "not ready" before it accepts nobody else: as long as
# those who send to it need to look twice.
drain_s = env_int("DRAIN_S", default=0, at_least=0, at_most=60)
accesslog = None  # The application logs its requests, with their ids.
errorlog = "-"
logger_class = "config.server_log.ServerLog"
loglevel = env_text("GUNICORN_LOG_LEVEL", default="info")

send_whole_answers()


def when_ready(server: Arbiter) -> None:
    """Load what the first request would load, then keep the collector from touching it."""
    server.handle_term = leave_politely(server, drain_s=drain_s, leave=server.handle_term)
    if not preload_app:
        return
    # A mistake in an address stops the start here, and not the first customer.
    get_resolver().url_patterns  # noqa: B018 - reading it imports every view
    # What is loaded after the fork, each worker has for itself.
    for name in ("config.sampling.start", "rollout.worker.start", *settings.METRICS_SAMPLES):
        import_string(name)
    import_module("gevent.threadpool")  # Whoever is asked for metrics adds them up in it.
    import_string("config.health.known_migrations")()
    caches.create_connection("default").client  # noqa: B018 - it connects when it is first asked
    gc.collect()
    # The collector writes into the objects it visits, and a page written to is shared no more.
    gc.freeze()
    collector.settle()


def child_exit(server: Arbiter, worker: Worker) -> None:
    """Keep what a worker counted, without its files."""
    directory = os.environ.get(metrics_directory.VARIABLE)
    if directory:
        # By its name: prometheus_client may be imported only when its directory is there.
        add_up_the_dead = import_string("config.metrics_files.add_up_the_dead")
        add_up_the_dead(Path(directory), reaped=worker.pid)


def pre_exec(server: Arbiter) -> None:
    """Start the master of an upgrade from the code that lies there, and give it our counts."""
    server.START_CTX["args"] = start_again(server.cfg.env_orig, sys.argv)
    metrics_directory.hand_over(server.cfg.env_orig)


def on_exit(server: Arbiter) -> None:
    """Leave no files behind."""
    metrics_directory.leave()


def post_worker_init(worker: Worker) -> None:
    """Refuse a driver that blocks the worker, open the pool, say "not ready" when told to stop."""
    if getattr(psycopg.waiting.wait, "__name__", None) == "wait_c":
        raise RuntimeError("psycopg was imported before gevent patched: every query would block")
    lend_wrappers()
    import_string("config.cache.share_caches")()
    # It connects in the background: a database that is down means "not ready", not "no server".
    pool = connection.pool  # type: ignore[attr-defined]
    use_the_last_first(pool)
    pool.open()
    if settings.IS_TRACED:
        import_string("config.telemetry.start")()
    # Rules before the first request, and not in the master: nothing that follows survives a fork.
    import_string("rollout.worker.start")()
    import_string("config.sampling.start")()

    # By its name: what the master had imported, no reload would renew.
    start_draining = import_string("config.health.start_draining")
    stop_serving = worker.handle_exit

    def stop(signal_number: int, frame: FrameType | None) -> None:
        start_draining()
        stop_serving(signal_number, frame)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGUSR2, lambda *_: start_draining())

    # The last worker of a new master ends the master before it.
    if (predecessor := os.environ.get("GUNICORN_PID")) and worker.age >= worker.cfg.workers:
        is_ready = import_string("config.health.is_ready")
        threading.Thread(target=take_over, args=(int(predecessor), is_ready), daemon=True).start()


def worker_exit(server: Arbiter, worker: Worker) -> None:
    """Send the spans of the last requests."""
    if settings.IS_TRACED:
        import_string("config.telemetry.stop")()
