"""Revisions and the audit trail are append-only, and the trail is a chain of hashes."""

from django.db import migrations

GUARD = """
CREATE FUNCTION rollout_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP
          USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER rollout_rulesetrevision_append_only
    BEFORE UPDATE OR DELETE ON rollout_rulesetrevision
    FOR EACH ROW EXECUTE FUNCTION rollout_refuse_change();
CREATE TRIGGER rollout_rulesetrevision_no_truncate
    BEFORE TRUNCATE ON rollout_rulesetrevision
    FOR EACH STATEMENT EXECUTE FUNCTION rollout_refuse_change();
CREATE TRIGGER rollout_auditevent_append_only
    BEFORE UPDATE OR DELETE ON rollout_auditevent
    FOR EACH ROW EXECUTE FUNCTION rollout_refuse_change();
CREATE TRIGGER rollout_auditevent_no_truncate
    BEFORE TRUNCATE ON rollout_auditevent
    FOR EACH STATEMENT EXECUTE FUNCTION rollout_refuse_change();

-- The epoch, because the text of an instant depends on the session's time zone.
CREATE FUNCTION rollout_audit_hash(event rollout_auditevent) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT encode(sha256(convert_to(jsonb_build_array(
        event.prev_hash, event.id, extract(epoch FROM event.at), event.actor, event.actor_kind,
        event.action, event.path, event.from_generation, event.to_generation, event.diff,
        event.reason, event.evidence, event.request_id, host(event.ip)
    )::text, 'UTF8')), 'hex')
$$;

-- The lock makes writers queue; each then reads the newest row, numbers its own after it, and the
-- numbers have no gap: a row that is missing shows.
CREATE FUNCTION rollout_chain_audit_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    newest rollout_auditevent;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('rollout_auditevent'));
    SELECT * INTO newest FROM rollout_auditevent ORDER BY id DESC LIMIT 1;
    NEW.id := coalesce(newest.id, 0) + 1;
    NEW.prev_hash := coalesce(newest.hash, '');
    NEW.hash := rollout_audit_hash(NEW);
    RETURN NEW;
END
$$;
CREATE TRIGGER rollout_auditevent_chain
    BEFORE INSERT ON rollout_auditevent
    FOR EACH ROW EXECUTE FUNCTION rollout_chain_audit_event();
"""

UNGUARD = """
DROP TRIGGER rollout_auditevent_chain ON rollout_auditevent;
DROP FUNCTION rollout_chain_audit_event();
DROP FUNCTION rollout_audit_hash(rollout_auditevent);
DROP TRIGGER rollout_auditevent_no_truncate ON rollout_auditevent;
DROP TRIGGER rollout_auditevent_append_only ON rollout_auditevent;
DROP TRIGGER rollout_rulesetrevision_no_truncate ON rollout_rulesetrevision;
DROP TRIGGER rollout_rulesetrevision_append_only ON rollout_rulesetrevision;
DROP FUNCTION rollout_refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = [("rollout", "0001_tables")]

    operations = [migrations.RunSQL(GUARD, UNGUARD)]
