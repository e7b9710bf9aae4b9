"""Who sees and does what with holds, transfers, stocktakes and locations."""

from django.contrib.auth.management import create_permissions
from django.db import migrations

SEE = ("view_hold", "view_transfer", "view_stocktake")
KEEP = (*SEE, "transfer_stock", "count_stock")
ROLE_MAY = {
    "viewer": SEE,
    "stock keeper": KEEP,
    "order desk": (*SEE, "release_hold"),
    # Whoever approves a stocktake is seldom the one who counted.
    "operator": (*KEEP, "release_hold", "approve_stocktake", "add_location", "change_location"),
}


def permit(apps, schema_editor):
    # As in 0005: make this app's permissions now, they are made by post_migrate otherwise.
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
    dependencies = [("inventory", "0012_office_permissions"), ("accounts", "0002_roles")]
    operations = [migrations.RunPython(permit, migrations.RunPython.noop)]
