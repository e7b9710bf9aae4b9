"""What each role may do with stock: all see it, stock keepers and operators move it."""

from django.contrib.auth.management import create_permissions
from django.db import migrations

SEE = ("view_sku", "view_location", "view_stocklevel", "view_movement", "view_allocation")
KEEP = (*SEE, "add_sku", "change_sku", "receive_stock", "adjust_stock")
ROLE_MAY = {"viewer": SEE, "stock keeper": KEEP, "order desk": SEE, "operator": KEEP}


def permit(apps, schema_editor):
    # Permissions are made by post_migrate, which on a new database runs after this: make those of
    # this app now. create_permissions skips an app without a models module, and the historical
    # app has none.
    app = apps.get_app_config("inventory")
    app.models_module = True
    create_permissions(app, apps=apps, using=schema_editor.connection.alias, verbosity=0)
    app.models_module = None

    groups = apps.get_model("auth", "Group").objects.using(schema_editor.connection.alias)
    permissions = apps.get_model("auth", "Permission").objects.using(schema_editor.connection.alias)
    for role, codenames in ROLE_MAY.items():
        groups.get(name=role).permissions.add(
            *permissions.filter(content_type__app_label="inventory", codename__in=codenames)
        )


class Migration(migrations.Migration):
    dependencies = [
        ("inventory", "0004_stock_permissions"),
        ("accounts", "0002_roles"),
    ]
    # Backwards the permissions stay: what they permit goes with the code.
    operations = [migrations.RunPython(permit, migrations.RunPython.noop)]
