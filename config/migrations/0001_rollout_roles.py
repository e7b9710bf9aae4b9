"""
What each role may do with rollout: all see it, operators publish and kill.

It stands here because only the project knows both: accounts makes the roles, rollout the
permissions, and either can be lifted out without the other.
"""

from django.contrib.auth.management import create_permissions
from django.db import migrations

ROLES = ("viewer", "stock keeper", "order desk", "operator")
SEE = ("view_rulesetrevision", "view_auditevent")
OPERATOR_MAY = ("override", "publish", "kill")


def permit(apps, schema_editor):
    # Permissions are made by post_migrate, which on a new database runs after this: make those of
    # rollout now. create_permissions skips an app without a models module, and the historical app
    # has none.
    app = apps.get_app_config("rollout")
    app.models_module = True
    create_permissions(app, apps=apps, using=schema_editor.connection.alias, verbosity=0)
    app.models_module = None

    groups = apps.get_model("auth", "Group").objects.using(schema_editor.connection.alias)
    permissions = apps.get_model("auth", "Permission").objects.using(schema_editor.connection.alias)
    of_rollout = permissions.filter(content_type__app_label="rollout")
    for role in ROLES:
        may = (*SEE, *OPERATOR_MAY) if role == "operator" else SEE
        groups.get(name=role).permissions.add(*of_rollout.filter(codename__in=may))


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_roles"),
        ("rollout", "0005_names_for_people"),
    ]
    # Backwards the permissions stay: what they permit goes with the code.
    operations = [migrations.RunPython(permit, migrations.RunPython.noop)]
