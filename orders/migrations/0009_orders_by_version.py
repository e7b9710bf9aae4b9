"""An index for the orders that one version of the placing code took."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # CREATE INDEX CONCURRENTLY: orders are taken meanwhile.
    atomic = False

    dependencies = [("orders", "0008_order_roles")]

    operations = [
        AddIndexConcurrently(
            "order",
            models.Index(fields=["account", "served_version", "-id"], name="orders_by_version"),
        ),
    ]
