from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("orders", "0006_reconciliation")]

    operations = [
        migrations.AlterModelOptions(
            name="order",
            options={
                "permissions": [
                    ("cancel_order", "Can cancel units of orders"),
                    ("fulfill_order", "Can fulfil orders"),
                    ("return_order", "Can take back units of orders"),
                    ("note_order", "Can write notes on orders"),
                ]
            },
        ),
        # Not concurrently: a second `migrate` that waits for its turn would be waited for.
        migrations.AddIndex(
            model_name="order",
            index=models.Index(fields=["-placed_at", "-id"], name="orders_by_day"),
        ),
    ]
