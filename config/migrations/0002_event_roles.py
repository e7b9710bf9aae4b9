"""What each role may do with events: all see them, operators keep the webhooks."""

from django.contrib.auth.management import create_permissions
from django.db import migrations

ROLES = ("viewer", "stock keeper", "order desk", "operator")
SEE = ("view_event", "view_endpoint", "view_delivery")
OPERATOR_MAY = ("change_endpoint",)


def permit(apps, schema_editor):
    # Permissions are made by post_migrate, which on a new database runs after this: make those of
    # events now. create_permissions skips an app without a models module, and the historical app
    # has none.
    app = apps.get_app_config("events")
    app.models_module = True
    create_permissions(app, apps=apps, using=schema_editor.connection.alias, verbosity=0)
    app.models_module = None

    groups = apps.get_model("auth", "Group").objects.using(schema_editor.connection.alias)
    permissions = apps.get_model("auth", "Permission").objects.using(schema_editor.connection.alias)
    of_events = permissions.filter(content_type__app_label="events")
    for role in ROLES:
        may = (*SEE, *OPERATOR_MAY) if role == "operator" else SEE
        groups.get(name=role).permissions.add(*of_events.filter(codename__in=may))


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_roles"),
        ("config", "0001_rollout_roles"),
        ("events", "0003_webhooks"),
    ]
    # Backwards the permissions stay: what they permit goes with the code.
    operations = [migrations.RunPython(permit, migrations.RunPython.noop)]
