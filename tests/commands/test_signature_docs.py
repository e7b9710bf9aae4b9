"""The examples of docs/events.md verify what we sign, and refuse what somebody else did."""

import json
import os
import re
import shutil
import subprocess
import time
import unittest
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

from standardwebhooks.webhooks import Webhook

from events.signing import new_secret, sign
from tests.commands.processes import PROJECT
from tests.faults.receiver import Receiver

ID = UUID("0197f0a1-7c3e-7d52-9f6b-2b1f0f4c8a12")
BODY = '{"type": "order.placed", "data": {"name": "Grüße"}}'
TRY_VERIFY = """
import { verify } from "./verify.mjs";

for (const { secret, headers, body } of JSON.parse(process.argv[2])) {
  try {
    console.log(verify(secret, headers, Buffer.from(body)).type);
  } catch (refusal) {
    console.log(refusal.message);
  }
}
"""


def example(language: str, words: str) -> str:
    """Return the block of a language that has these words in it."""
    text = (PROJECT / "docs" / "events.md").read_text(encoding="utf-8")
    blocks = re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (found,) = [block for block in blocks if words in block]
    return found


def shell(script: str, **variables: str) -> str:
    return subprocess.run(
        ["sh", "-eu", "-c", script],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout.strip()


def call(secret: str, *, at: int, body: str = BODY, signed: str = BODY) -> dict[str, object]:
    """Return a call as a receiver gets it, signed by secret and by another one."""
    signature = sign(signed.encode(), event_id=ID, timestamp_s=at, secrets=[new_secret(), secret])
    headers = {
        "webhook-id": str(ID),
        "webhook-timestamp": str(at),
        "webhook-signature": signature,
    }
    return {"headers": headers, "body": body}


needs_shell = unittest.skipUnless(
    shutil.which("openssl") and shutil.which("curl"), "openssl or curl is not installed"
)


class SignatureExampleTests(unittest.TestCase):
    def setUp(self) -> None:
        self.secret = new_secret()

    @unittest.skipUnless(shutil.which("node"), "node is not installed")
    def test_javascript_takes_what_is_ours_and_nothing_else(self) -> None:
        now = int(time.time())
        calls = [
            {"secret": self.secret} | call(self.secret, at=now),
            {"secret": self.secret} | call(self.secret, at=now, body=BODY + " "),
            {"secret": self.secret} | call(new_secret(), at=now),
            {"secret": self.secret} | call(self.secret, at=now - 301),
        ]
        with TemporaryDirectory() as folder:
            Path(folder, "verify.mjs").write_text(example("js", "createHmac"), encoding="utf-8")
            Path(folder, "try.mjs").write_text(TRY_VERIFY, encoding="utf-8")

            done = subprocess.run(
                ["node", "try.mjs", json.dumps(calls)],
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=30,
                check=True,
            )

        unsigned = "not signed with this secret"
        assert done.stdout.splitlines() == [
            "order.placed", unsigned, unsigned, "too old, or too new",
        ]  # fmt: skip

    @needs_shell
    def test_shell_computes_our_signature(self) -> None:
        signature = shell(
            example("sh", '"$WEBHOOK_ID"'),
            SECRET=self.secret,
            WEBHOOK_ID=str(ID),
            WEBHOOK_TIMESTAMP="1750000000",
            BODY=BODY,
        )

        ours = sign(BODY.encode(), event_id=ID, timestamp_s=1_750_000_000, secrets=[self.secret])
        assert f"v1,{signature}" == ours

    @needs_shell
    def test_curl_sends_what_a_receiver_takes(self) -> None:
        with Receiver() as receiver:
            status = shell(example("sh", "curl -sS"), SECRET=self.secret, RECEIVER=receiver.url)

        (taken,) = receiver.calls
        assert status == "204"
        assert Webhook(self.secret).verify(taken.body, dict(taken.headers)) == taken.event
