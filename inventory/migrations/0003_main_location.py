"""Every installation has a location called main."""

from django.db import migrations


def add_main(apps, schema_editor):
    apps.get_model("inventory", "Location").objects.get_or_create(
        code="main", defaults={"name": "Main"}
    )


class Migration(migrations.Migration):
    dependencies = [("inventory", "0002_append_only_ledger")]

    operations = [migrations.RunPython(add_main, migrations.RunPython.noop)]
