"""docs/orders.md says what the code does."""

import re
import unittest
from pathlib import Path

from orders.lifecycle import TRANSITIONS, Action
from orders.states import Attention, PaymentStatus, Status

PROJECT = Path(__file__).resolve().parents[2]
TEXT = (PROJECT / "docs" / "orders.md").read_text(encoding="utf-8")
CODE = "".join(
    (PROJECT / "orders" / name).read_text(encoding="utf-8")
    for name in ("changes.py", "personal.py")
)


class OrdersPageTests(unittest.TestCase):
    def test_has_the_transition_table(self):
        (head,) = re.findall(r"^\| may be done while \| (.*) \|$", TEXT, re.MULTILINE)
        statuses = head.split(" | ")
        assert statuses == [*Status]
        for action in set(Action) - {Action.REINSTATE}:
            (row,) = re.findall(rf"^\| {action} \|(.*)\|$", TEXT, re.MULTILINE)
            told = {
                status
                for status, cell in zip(statuses, row.split("|"), strict=True)
                if cell.strip() == "yes"
            }
            assert told == set(TRANSITIONS[action]), action

    def test_names_every_event(self):
        told = set(re.findall(r"\border\.[a-z_]+", TEXT))
        raised = set(re.findall(r'"(order\.[a-z_]+)"', CODE)) | {"order.placed"}
        assert told == raised

    def test_names_every_reason_for_attention_and_state_of_payment(self):
        for reason in Attention:
            assert f"| {reason} |" in TEXT
        for status in PaymentStatus:
            assert status in TEXT
