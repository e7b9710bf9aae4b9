from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("inventory", "0011_import_permissions")]

    operations = [
        migrations.AlterModelOptions(
            name="hold",
            options={"permissions": [("release_hold", "Can release holds of any account")]},
        ),
        migrations.AlterModelOptions(
            name="transfer",
            options={"permissions": [("transfer_stock", "Can send and receive transfers")]},
        ),
        migrations.AlterModelOptions(
            name="stocktake",
            options={
                "permissions": [
                    ("count_stock", "Can begin stocktakes and enter counts"),
                    ("approve_stocktake", "Can approve stocktakes"),
                ]
            },
        ),
    ]
