"""docs/rollout-reference.md is sent and run, line by line, in the order of the page."""

import doctest
import json
import os
import re
import shlex
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import TestCase, override_settings

from rollout.api.urls import urlpatterns
from rollout.management.commands.rollout import _VERBS
from tests.api.caller import Caller
from tests.builders import given_api_key
from tests.commands.processes import PROJECT

TEXT = (PROJECT / "docs" / "rollout-reference.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def requests():
    """Yield verb, address and body of each request."""
    for block in blocks("http"):
        yield from re.findall(r"^([A-Z]+) (\S+)\n((?:(?![A-Z]+ /).*\n)*)", block, re.MULTILINE)


def commands():
    """Yield words and the expected output of each command."""
    for block in blocks("console"):
        for line, printed in re.findall(r"^\$ manage\.py (.*)\n((?:[^$].*\n)*)", block, re.M):
            yield shlex.split(line), printed


# The trail goes on from generation to generation, so requests and commands are one test.
@override_settings(ROLLOUT_RELEASES={"orders.place": "v1"}, ROLLOUT_REDIS_URL="")
class RolloutReferenceTests(TestCase):
    def test_every_request_is_answered_and_every_command_prints_what_the_page_says(self):
        operator = Caller(given_api_key(None, "rollout:read", "rollout:write"))
        for verb, path, body in requests():
            answer = operator.client.generic(
                verb, f"/api/v1/rollout{path}", body, content_type="application/json"
            )
            assert answer.status_code == 200, (verb, path, answer.content)

        before = Path.cwd()
        self.addCleanup(os.chdir, before)
        os.chdir(self.enterContext(TemporaryDirectory()))
        for words, told in commands():
            assert _matches(told, self.printed(*words)), (words, self.printed(*words))

    def printed(self, *words):
        stdout = StringIO()
        try:
            call_command(*words, stdout=stdout, stderr=StringIO(), no_color=True)
        except CommandError as failure:
            raise AssertionError((words, str(failure))) from failure
        return stdout.getvalue()

    def test_names_every_address_and_verb(self):
        verbs = {words[1] for words, _ in commands()}
        told = {
            (verb.lower(), pattern.name)
            for verb, path, _ in requests()
            for pattern in urlpatterns
            if pattern.pattern.match(path.partition("?")[0].removeprefix("/"))
        }

        assert verbs == {name for name, *_ in _VERBS}
        assert told == {
            (verb, pattern.name)
            for pattern in urlpatterns
            for verb in pattern.callback.actions
            if verb != "head"
        }

    def test_bodies_are_json(self):
        for _, _, body in requests():
            assert body == "" or json.loads(body)


def _matches(told, printed):
    return doctest.OutputChecker().check_output(told, printed, doctest.ELLIPSIS)
