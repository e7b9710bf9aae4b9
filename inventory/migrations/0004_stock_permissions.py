from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("inventory", "0003_main_location")]

    operations = [
        migrations.AlterModelOptions(
            name="stocklevel",
            options={
                "permissions": [
                    ("receive_stock", "Can receive stock"),
                    ("adjust_stock", "Can adjust and count stock"),
                ]
            },
        ),
    ]
