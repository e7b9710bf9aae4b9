"""What the admin calls these tables."""

from django.db import migrations

PERMISSIONS = [
    ("override", "May ask for a version by x-deploy-version"),
    ("publish", "May publish rules, promote and roll back"),
    ("kill", "May pull the kill switch"),
]


class Migration(migrations.Migration):
    dependencies = [("rollout", "0004_breaker_transitions")]

    operations = [
        migrations.AlterModelOptions(
            "rolloutstate",
            {
                "default_permissions": (),
                "verbose_name": "overview",
                "verbose_name_plural": "overview",
            },
        ),
        migrations.AlterModelOptions(
            "rulesetrevision",
            {
                "default_permissions": ("view",),
                "permissions": PERMISSIONS,
                "verbose_name": "rule set",
                "verbose_name_plural": "rule sets",
            },
        ),
        migrations.AlterModelOptions(
            "auditevent",
            {
                "default_permissions": ("view",),
                "verbose_name": "audit event",
                "verbose_name_plural": "audit events",
            },
        ),
    ]
