"""Many connections in one gevent process: each request has its own context, and no other's."""

import json
import subprocess
import sys

PROGRAM = """
import gevent.monkey; gevent.monkey.patch_all()
import json
from types import SimpleNamespace
import django
from django.conf import settings
settings.configure(INSTALLED_APPS=["rollout"], DATABASES={}, SECRET_KEY="x", USE_TZ=True,
                   MIDDLEWARE=["rollout.middleware.RolloutMiddleware"])
django.setup()
import gevent
from django.http import HttpResponse
from django.test import RequestFactory
from rollout.codepath import CodePath
from rollout.context import current
from rollout.document import read_document
from rollout.middleware import RolloutMiddleware
from rollout.rules import is_in_share
from rollout.runtime import runtime

path = CodePath("tests.path", effects="read", stickiness=("account",))

@path.version("v1")
def one():
    gevent.sleep(0.001)
    return "v1"

@path.version("v2")
def two():
    gevent.sleep(0.001)
    return "v2"

def publish(generation):
    rules = [{"id": "a", "path": "tests.path", "serve": "v2", "share_bp": 5000}]
    document = {"schema_version": 1, "rules": rules}
    runtime.activate(read_document(document), generation=generation)

def view(request):
    gevent.sleep(0)
    request.user = SimpleNamespace(pk=request.GET["who"], is_authenticated=True)
    first, generation = path(), current.get().snapshot.generation
    gevent.sleep(0.001)
    assert path() == first and current.get().snapshot.generation == generation
    return HttpResponse(first)

publish(1)
middleware, requests, wrong, left = RolloutMiddleware(view), 0, [], 0

def connection(number):
    # One greenlet answers all requests of a kept connection.
    global requests, left
    for turn in range(20):
        left += current.get() is not None
        who = f"{number}-{turn}"
        answer = middleware(RequestFactory().get("/", {"who": who})).content.decode()
        requests += 1
        if (answer == "v2") != is_in_share("a", who, 5000):
            wrong.append(who)
        if turn % 5 == 0:
            publish(2 + turn)

gevent.joinall([gevent.spawn(connection, n) for n in range(50)], raise_error=True)
print(json.dumps({"requests": requests, "wrong": wrong, "left": left}))
"""


class ContextTests:
    def test_lets_no_request_see_another(self):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True
        )

        assert json.loads(done.stdout) == {"requests": 1000, "wrong": [], "left": 0}
