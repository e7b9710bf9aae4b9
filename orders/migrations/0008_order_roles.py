"""Who may change an order in the back office."""

from django.contrib.auth.management import create_permissions
from django.db import migrations

WORK = ("cancel_order", "fulfill_order", "return_order", "note_order")
ROLE_MAY = {
    "stock keeper": ("fulfill_order", "return_order", "note_order"),
    "order desk": WORK,
    "operator": WORK,
}


def permit(apps, schema_editor):
    # Permissions are made by post_migrate, which on a new database runs after this: make those of
    # this app now. create_permissions skips an app without a models module, and the historical
    # app has none.
    app = apps.get_app_config("orders")
    app.models_module = True
    create_permissions(app, apps=apps, using=schema_editor.connection.alias, verbosity=0)
    app.models_module = None

    groups = apps.get_model("auth", "Group").objects.using(schema_editor.connection.alias)
    permissions = apps.get_model("auth", "Permission").objects.using(schema_editor.connection.alias)
    for role, codenames in ROLE_MAY.items():
        groups.get(name=role).permissions.add(
            *permissions.filter(content_type__app_label="orders", codename__in=codenames)
        )


class Migration(migrations.Migration):
    dependencies = [
        ("orders", "0007_order_permissions"),
        ("accounts", "0002_roles"),
    ]
    # Backwards the permissions stay: what they permit goes with the code.
    operations = [migrations.RunPython(permit, migrations.RunPython.noop)]
