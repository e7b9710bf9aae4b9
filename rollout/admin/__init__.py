"""The back office of rollout: what is in force, drafts, history, the trail."""

from django.contrib import admin

from rollout.admin.history import RevisionAdmin
from rollout.admin.overview import StateAdmin
from rollout.admin.trail import TrailAdmin
from rollout.models import AuditEvent, RolloutState, RuleSetRevision

admin.site.register(RolloutState, StateAdmin)
admin.site.register(RuleSetRevision, RevisionAdmin)
admin.site.register(AuditEvent, TrailAdmin)
