"""What is added to transaction ids in the feed: a restored database counts them from the start."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("events", "0003_webhooks")]
    operations = [
        migrations.RunSQL(
            "CREATE SEQUENCE events_feed_offset MINVALUE 0 START 0",
            "DROP SEQUENCE events_feed_offset",
        )
    ]
