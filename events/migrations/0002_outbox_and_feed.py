"""The outbox, and the order of the feed."""

import django.db.models.functions.comparison
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("events", "0001_tables")]
    operations = [
        migrations.RunSQL(
            "CREATE SEQUENCE events_event_position", "DROP SEQUENCE events_event_position"
        ),
        migrations.AddField(
            "event", "account_id", models.BigIntegerField(null=True)
        ),
        migrations.AddField(
            "event",
            "feed_xid",
            models.BigIntegerField(
                db_default=django.db.models.functions.comparison.Cast(
                    django.db.models.functions.comparison.Cast(
                        models.Func(function="pg_current_xact_id"), models.TextField()
                    ),
                    models.BigIntegerField(),
                )
            ),
        ),
        migrations.AddField(
            "event",
            "position",
            models.BigIntegerField(
                db_default=models.Func(models.Value("events_event_position"), function="nextval")
            ),
        ),
        migrations.AddIndex(
            "event", models.Index(fields=["feed_xid", "position"], name="events_event_feed")
        ),
        migrations.CreateModel(
            name="Outbox",
            fields=[
                ("position", models.BigIntegerField(primary_key=True, serialize=False)),
                ("event_id", models.UUIDField()),
            ],
        ),
    ]
