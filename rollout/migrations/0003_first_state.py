"""The one row of state: generation 0, nothing was published yet."""

from django.db import migrations


def add_state(apps, schema_editor):
    states = apps.get_model("rollout", "RolloutState").objects.using(
        schema_editor.connection.alias
    )
    states.get_or_create(id=1)


class Migration(migrations.Migration):
    dependencies = [("rollout", "0002_append_only_and_chained")]

    operations = [migrations.RunPython(add_state, migrations.RunPython.noop)]
