"""Goods to try things with."""

import hashlib
from argparse import ArgumentParser
from contextlib import suppress
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand
from django.utils import timezone

from events.usecases import KeyedRequest
from inventory import usecases
from inventory.usecases import Provenance, SkuExists

# Code, name, price in minor units of EUR, units on hand.
DEMO_GOODS = (
    ("DEMO-CUP", "Demo: enamel cup", 850, 1000),
    ("DEMO-TEAPOT", "Demo: teapot", 3490, 200),
    ("DEMO-TRAY", "Demo: oak tray", 2400, 50),
    ("DEMO-LAMP", "Demo: the last lamp", 8900, 1),
)


class Command(BaseCommand):
    """Add the demo goods that are missing."""

    help = "Add demo SKUs with stock, through the doors that everybody uses. Runs twice unharmed."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--user", default="demo", help="the account that receives the stock")

    def handle(self, *args: Any, **options: Any) -> None:
        """Add what is missing."""
        users = get_user_model()._default_manager
        user = users.filter(username=options["user"]).first()
        if user is None:
            user = users.create_user(options["user"])
        for code, name, price_minor, units in DEMO_GOODS:
            with suppress(SkuExists):
                usecases.create_sku(code=code, name=name, price_minor=price_minor, currency="EUR")
            # The key makes a second receipt an echo of the first, also after a crash in between.
            key = f"demo-stock-{code}"
            usecases.receive_stock(
                request=KeyedRequest(user.pk, key, hashlib.sha256(key.encode()).digest()),
                sku=code,
                quantity=units,
                provenance=Provenance(actor=user.get_username(), source="command"),
                now=timezone.now(),
                reference="demo",
            )
            self.stdout.write(f"{code}  {name}")
