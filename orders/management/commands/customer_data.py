"""Tell what is kept about a customer, or erase it."""

from argparse import ArgumentParser
from typing import Any

import orjson
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from config.errors import AppError
from events.usecases import EventsError
from inventory.usecases import Provenance
from orders.usecases import erase_customer, export_customer


class Command(BaseCommand):
    help = "Print all that is kept about a customer of an account as JSON, or erase it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        for verb, told in (("export", "print it as JSON"), ("erase", "erase it; for good")):
            about = verbs.add_parser(verb, help=told)
            about.add_argument("customer", help="as the account's orders name it")
            about.add_argument("--account", required=True, help="the user name of the account")
            if verb == "erase":
                about.add_argument("--reason", required=True, help="kept; do not name the person")
                about.add_argument(
                    "--by", default="customer_data", help="who erases, for the record"
                )
                about.add_argument(
                    "--open-too",
                    action="store_true",
                    help="also orders that are still to be sent or paid",
                )

    def handle(self, *args: Any, **options: Any) -> None:
        model = get_user_model()
        account = model._default_manager.filter(
            **{model.USERNAME_FIELD: options["account"]}
        ).first()
        if account is None:
            raise CommandError(f"there is no account {options['account']}")
        try:
            if options["verb"] == "export":
                self._export(account, options["customer"])
            else:
                self._erase(account, options)
        except (AppError, EventsError) as refusal:
            raise CommandError(str(refusal)) from refusal

    def _export(self, account: Any, customer: str) -> None:
        """Write one JSON document, an order at a time."""
        orders = export_customer(customer, account_id=account.pk)
        head = orjson.dumps({"account": account.get_username(), "customer": customer}).decode()
        self.stdout.write(f'{head[:-1]},"orders":[', ending="")
        for n, order in enumerate(orders):
            self.stdout.write(("," if n else "") + "\n" + orjson.dumps(order).decode(), ending="")
        self.stdout.write("\n]}")

    def _erase(self, account: Any, options: dict[str, Any]) -> None:
        erasure = erase_customer(
            options["customer"],
            account_id=account.pk,
            reason=options["reason"],
            provenance=Provenance(actor=options["by"], source="command"),
            now=timezone.now(),
            includes_open=options["open_too"],
        )
        self.stdout.write(
            f"{erasure.orders} orders, {erasure.notes} notes, {erasure.events} events and "
            f"{erasure.answers} answers are now of {erasure.customer}"
        )
