"""The ledger is append-only: no UPDATE, DELETE or TRUNCATE, whoever asks."""

from django.db import migrations

REFUSE = """
CREATE FUNCTION inventory_refuse_ledger_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'inventory_movement is append-only: % refused', TG_OP
          USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER inventory_movement_append_only
    BEFORE UPDATE OR DELETE ON inventory_movement
    FOR EACH ROW EXECUTE FUNCTION inventory_refuse_ledger_change();
CREATE TRIGGER inventory_movement_no_truncate
    BEFORE TRUNCATE ON inventory_movement
    FOR EACH STATEMENT EXECUTE FUNCTION inventory_refuse_ledger_change();
"""

ALLOW = """
DROP TRIGGER inventory_movement_no_truncate ON inventory_movement;
DROP TRIGGER inventory_movement_append_only ON inventory_movement;
DROP FUNCTION inventory_refuse_ledger_change();
"""


class Migration(migrations.Migration):
    dependencies = [("inventory", "0001_tables")]

    operations = [migrations.RunSQL(REFUSE, ALLOW)]
