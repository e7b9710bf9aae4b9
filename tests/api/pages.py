"""Runs the shell blocks of a page of docs against a live server."""

import json
import os
import subprocess

from django.test import LiveServerTestCase

from tests.builders import given_api_key
from tests.committed import CommittedTestCase


class PageTestCase(CommittedTestCase, LiveServerTestCase):
    def setUp(self):
        self.variables = {"URL": self.live_server_url, "KEY": given_api_key()}

    def run_block(self, block):
        """Return what a block says in a shell that has the variables of those before it."""
        done = subprocess.run(
            ["bash", "-euc", block],
            env={"PATH": os.environ["PATH"]} | self.variables,
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        return done.stdout

    def set_shorthands(self, block):
        """Set the variables that a block sets, but where the server is."""
        for line in block.splitlines():
            name = line.partition("=")[0]
            if name not in self.variables:
                self.variables[name] = self.run_block(f'{line}\nprintf %s "${name}"')

    def send(self, curl):
        """Return the status, the head and the JSON that a curl answered."""
        head, _, body = self.run_block(curl).partition("\n\n")
        return int(head.split()[1]), head, json.loads(body)
