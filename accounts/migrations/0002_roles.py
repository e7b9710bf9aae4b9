"""Roles are groups: viewer, stock keeper, order desk, operator."""

from django.contrib.auth.management import create_permissions
from django.db import migrations

ROLES = ("viewer", "stock keeper", "order desk", "operator")
OPERATOR_MAY = ("view_apikey", "add_apikey", "change_apikey")


def add_roles(apps, schema_editor):
    # Permissions are made by post_migrate, which on a new database runs after this: make those of
    # this app now. create_permissions skips an app without a models module, and the historical
    # app has none.
    app = apps.get_app_config("accounts")
    app.models_module = True
    create_permissions(app, apps=apps, using=schema_editor.connection.alias, verbosity=0)
    app.models_module = None

    groups = apps.get_model("auth", "Group").objects.using(schema_editor.connection.alias)
    for name in ROLES:
        groups.get_or_create(name=name)
    permissions = apps.get_model("auth", "Permission").objects.using(schema_editor.connection.alias)
    groups.get(name="operator").permissions.add(
        *permissions.filter(content_type__app_label="accounts", codename__in=OPERATOR_MAY)
    )


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_api_keys_and_login_links"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]
    # Backwards the groups stay: people are in them.
    operations = [migrations.RunPython(add_roles, migrations.RunPython.noop)]
