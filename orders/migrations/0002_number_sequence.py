"""Order numbers count from 1001; a gap is an order that was refused."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("orders", "0001_tables")]

    operations = [
        migrations.RunSQL(
            "CREATE SEQUENCE orders_number_seq START 1001 OWNED BY orders_order.number",
            "DROP SEQUENCE orders_number_seq",
        )
    ]
