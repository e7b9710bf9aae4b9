"""The back office of rollout: drafts, history, switches, the trail; and who may."""

import json

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client, TestCase
from django.test.utils import CaptureQueriesContext

from rollout import usecases
from rollout.admin.editor import Editor
from rollout.codepath import CodePath
from rollout.document import EMPTY_DOCUMENT
from rollout.drafting import written
from rollout.models import AuditEvent, BreakerTransition, RolloutState, RuleSetRevision
from rollout.runtime import runtime
from rollout.usecases import Actor
from tests.admin.people import given_person
from tests.builders import NOON

KEY = "tests.path"
HOME = "/admin/rollout/rolloutstate/"
HISTORY = "/admin/rollout/rulesetrevision/"
TRAIL = "/admin/rollout/auditevent/"
NASTY = "<script>alert('x')</script>"
BOB = Actor("bob")
RULE = {
    "id": "half",
    "path": KEY,
    "serve": "canary",
    "share_bp": 5000,
    "match": [{"kind": "account", "values": ["7"]}],
}


def document_of(*rules, **members):
    return {
        **EMPTY_DOCUMENT,
        "releases": {KEY: {"stable": "v1", "canary": "v2"}},
        "rules": list(rules),
        **members,
    }


def given_published(document=None, *, comment="begun", by=BOB):
    return usecases.publish(
        document or document_of(RULE),
        expected_generation=usecases.get_current().generation,
        actor=by,
        comment=comment,
    )


class RolloutAdminCase(TestCase):
    @pytest.fixture(autouse=True)
    def _alone(self, settings):
        settings.ROLLOUT_REDIS_URL = ""

    def setUp(self):
        path = CodePath(KEY, effects="read", stickiness=("account",))
        for version in ("v1", "v2", "v3"):
            path.version(version)(lambda: None)
        self.addCleanup(runtime.forget, KEY)
        self.person = given_person("operator")
        self.client.force_login(self.person)

    def assert_nothing_moved(self, generation):
        assert RolloutState.objects.get().generation == generation
        assert RuleSetRevision.objects.count() == generation
        assert AuditEvent.objects.count() == generation


class PageTests(RolloutAdminCase):
    pages = (
        HOME,
        f"{HOME}status.json",
        f"{HOME}explain/",
        f"{HOME}explain/?path={KEY}&account=7",
        HISTORY,
        f"{HISTORY}1/change/",
        f"{HISTORY}2/acknowledged.json",
        f"{HISTORY}compare/?old=0&new=2",
        TRAIL,
        f"{TRAIL}checked/",
        f"{TRAIL}1/change/",
    )
    to_publish = (
        f"{HOME}draft/",
        f"{HOME}draft/?from=1",
        f"{HOME}promote/{KEY}/",
        f"{HISTORY}1/roll-back/",
        f"{HISTORY}0/roll-back/",
    )
    to_kill = (f"{HOME}kill/", f"{HOME}kill/?path={KEY}", f"{HOME}revive/")
    of_breakers = (f"{HOME}breaker/{KEY}/v2/",)

    def setUp(self):
        super().setUp()
        given_published()
        given_published(document_of())

    def statuses(self, pages):
        return {page: self.client.get(page).status_code for page in pages}

    def test_opens_every_page_for_an_operator_and_moves_nothing(self):
        pages = (*self.pages, *self.to_publish, *self.to_kill, *self.of_breakers)

        assert self.statuses(pages) == dict.fromkeys(pages, 200)
        self.assert_nothing_moved(generation=2)

    def test_shows_a_viewer_everything_and_offers_nothing(self):
        self.client.force_login(given_person("viewer"))
        closed = (*self.to_publish, *self.to_kill, *self.of_breakers)

        assert self.statuses(self.pages) == dict.fromkeys(self.pages, 200)
        assert self.statuses(closed) == dict.fromkeys(closed, 403)
        page = self.client.get(HOME).content.decode()
        for address in (f"{HOME}draft/", f"{HOME}kill/", f"{HOME}promote/", f"{HOME}breaker/"):
            assert address not in page

    def test_is_closed_to_staff_without_a_role(self):
        self.client.force_login(User.objects.create_user("nobody", is_staff=True))
        pages = (*self.pages, *self.to_publish, *self.to_kill, *self.of_breakers)

        assert self.statuses(pages) == dict.fromkeys(pages, 403)

    def test_sends_who_is_not_logged_in_to_the_login(self):
        for page in (HOME, f"{HOME}status.json", f"{HISTORY}1/change/"):
            assert Client().get(page).status_code == 302

    def test_knows_no_page_of_what_is_not_there(self):
        pages = (
            f"{HISTORY}9/change/",
            f"{HISTORY}9/roll-back/",
            f"{HISTORY}compare/?old=1&new=9",
            f"{HOME}promote/no.path/",
            f"{HOME}breaker/{KEY}/v9/",
            f"{HOME}draft/?from=9",
        )

        assert self.statuses(pages) == dict.fromkeys(pages, 404)

    def test_refuses_a_viewer_who_posts(self):
        self.client.force_login(given_person("viewer"))

        for page in (*self.to_publish, *self.to_kill, *self.of_breakers):
            assert self.client.post(page, {"verb": "publish"}).status_code == 403
        self.assert_nothing_moved(generation=2)

    def test_refuses_a_post_from_another_site(self):
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(self.person)

        for page in (*self.to_publish, *self.to_kill, *self.of_breakers):
            assert strict.post(page, {"expected_generation": 2}).status_code == 403
        self.assert_nothing_moved(generation=2)


class OverviewTests(RolloutAdminCase):
    def test_tells_release_share_and_breakers(self):
        given_published(comment="ten percent")

        answer = self.client.get(HOME)

        self.assertContains(answer, "ten percent")
        self.assertContains(answer, "50.00 % of a match by account")
        self.assertContains(answer, f'id="breaker-{KEY}-v2"')
        self.assertContains(answer, "No Redis is configured")

    def test_tells_what_breakers_did(self):
        given_published()
        self.assertContains(self.client.get(HOME), "No breaker opened or closed")
        BreakerTransition.objects.create(
            at=NOON,
            worker="vm:7",
            path=KEY,
            version="v2",
            epoch=4,
            from_state="closed",
            to_state="open",
            cause=NASTY,
            total=30,
            errors=21,
            slow=0,
        )

        answer = self.client.get(HOME)

        self.assertContains(answer, "<code>vm:7</code>")
        self.assertContains(answer, '<td class="number">21</td>')
        self.assertNotContains(answer, NASTY)

    def test_refreshes_from_json(self):
        given_published(comment="ten percent")

        told = self.client.get(f"{HOME}status.json").json()

        assert "ten percent" in told["html"]
        assert told["is_final"] is False

    def test_shows_text_of_people_as_text(self):
        rule = {**RULE, "note": NASTY}
        given_published(document_of(rule), comment=NASTY, by=Actor(NASTY))
        given_published(document_of(), comment=NASTY)

        pages = (HOME, HISTORY, TRAIL, f"{HISTORY}1/change/", f"{HISTORY}2/change/",
                 f"{TRAIL}1/change/", f"{HISTORY}1/roll-back/", f"{HOME}draft/?from=1",
                 f"{HISTORY}compare/?old=1&new=2")  # fmt: skip
        for page in pages:
            with self.subTest(page):
                html = self.client.get(page).content.decode()
                assert NASTY not in html
                assert "&lt;script&gt;alert" in html
        assert NASTY not in self.client.get(f"{HOME}status.json").json()["html"]


class KillTests(RolloutAdminCase):
    def test_stops_everything_and_lifts_it_again(self):
        given_published()

        answer = self.client.post(f"{HOME}kill/", {"reason": "errors at the till"})

        self.assertRedirects(answer, f"{HISTORY}2/change/")
        assert usecases.get_current().payload["kill_switch"]["all"] is True
        event = AuditEvent.objects.latest("id")
        assert (event.actor, event.action, event.reason) == (
            "operator",
            "kill",
            "errors at the till",
        )
        self.assertContains(self.client.get(HOME), "The kill switch is on")

        self.client.post(f"{HOME}revive/")

        assert usecases.get_current().payload["kill_switch"]["all"] is False
        self.assertNotContains(self.client.get(HOME), "The kill switch is on")

    def test_stops_one_path(self):
        given_published()

        self.client.post(f"{HOME}kill/", {"path": KEY})

        assert usecases.get_current().payload["kill_switch"] == {"all": False, "paths": [KEY]}
        self.assertContains(self.client.get(HOME), "nobody: KILL_SWITCH")

    def test_works_with_redis_gone(self):
        given_published()

        with (
            self.settings(ROLLOUT_REDIS_URL="redis://127.0.0.1:1/0"),
            self.captureOnCommitCallbacks(execute=True),
        ):
            answer = self.client.post(f"{HOME}kill/", {"reason": ""}, follow=True)

        assert answer.status_code == 200
        self.assertContains(answer, "Redis cannot be asked")
        assert usecases.get_current().payload["kill_switch"]["all"] is True

    def test_says_when_it_stood_so_already(self):
        given_published(document_of(kill_switch={"all": True, "paths": []}))

        answer = self.client.post(f"{HOME}kill/", follow=True)

        self.assertContains(answer, "It stood so already")
        self.assert_nothing_moved(generation=1)

    def test_refuses_a_path_that_is_not_there(self):
        given_published()

        answer = self.client.post(f"{HOME}kill/", {"path": "no.path"})

        self.assertContains(answer, "Nothing was published")
        self.assert_nothing_moved(generation=1)


class BreakerModeTests(RolloutAdminCase):
    def test_forces_a_breaker(self):
        given_published()

        answer = self.client.post(
            f"{HOME}breaker/{KEY}/v2/", {"mode": "forced_open", "reason": "bad"}
        )

        self.assertRedirects(answer, f"{HISTORY}2/change/")
        breakers = usecases.get_current().payload["breakers"]
        assert breakers == {KEY: {"v2": {"mode": "forced_open"}}}

    def test_refuses_another_mode(self):
        given_published()

        answer = self.client.post(f"{HOME}breaker/{KEY}/v2/", {"mode": "ajar"})

        self.assertContains(answer, "Nothing was published")
        self.assert_nothing_moved(generation=1)


class PromoteTests(RolloutAdminCase):
    page = f"{HOME}promote/{KEY}/"

    def test_makes_the_canary_stable(self):
        given_published()

        answer = self.client.post(self.page, {"expected_generation": 1, "comment": "it held"})

        self.assertRedirects(answer, f"{HISTORY}2/change/")
        assert usecases.get_current().payload["releases"][KEY] == {
            "stable": "v2",
            "canary": None,
            "fallback": "v1",
        }

    def test_tells_who_published_meanwhile(self):
        given_published()
        given_published(document_of(), comment="mine now")

        answer = self.client.post(self.page, {"expected_generation": 1}, follow=True)

        self.assertContains(answer, "bob published generation 2 (mine now)")
        self.assert_nothing_moved(generation=2)

    def test_offers_no_button_where_there_is_no_canary(self):
        given_published(document_of(releases={KEY: {"stable": "v1"}}))

        answer = self.client.get(self.page)

        self.assertContains(answer, "has no canary")
        self.assertNotContains(answer, 'type="submit" class="default"')


class RollBackTests(RolloutAdminCase):
    def test_publishes_the_old_rules_anew(self):
        given_published()
        given_published(document_of(releases={KEY: {"stable": "v3"}}))
        page = f"{HISTORY}1/roll-back/"
        self.assertContains(self.client.get(page), "10000 of 10001")

        answer = self.client.post(page, {"expected_generation": 2, "comment": "worse"})

        self.assertRedirects(answer, f"{HISTORY}3/change/")
        assert usecases.get_current().payload == usecases.get_generation(1).payload
        assert AuditEvent.objects.latest("id").action == "roll_back"

    def test_refuses_what_was_looked_at_too_long_ago(self):
        for number in (1, 2, 3):
            given_published(document_of(), comment=f"number {number}")

        answer = self.client.post(f"{HISTORY}1/roll-back/", {"expected_generation": 2}, follow=True)

        self.assertContains(answer, "bob published generation 3 (number 3)")
        self.assert_nothing_moved(generation=3)

    def test_says_what_the_code_has_no_more(self):
        given_published()
        given_published(EMPTY_DOCUMENT)
        runtime.forget(KEY)

        answer = self.client.get(f"{HISTORY}1/roll-back/")

        self.assertContains(answer, f"no code path is called &#x27;{KEY}&#x27;")
        self.client.post(f"{HISTORY}1/roll-back/", {"expected_generation": 2})
        self.assert_nothing_moved(generation=2)


class HistoryTests(RolloutAdminCase):
    def test_shows_what_differs_between_two_generations(self):
        given_published()
        given_published(document_of({**RULE, "share_bp": 100}))

        answer = self.client.get(f"{HISTORY}compare/?old=1&new=2")

        self.assertContains(
            answer, '<span class="rollout-removed">-       &quot;share_bp&quot;: 5000'
        )
        self.assertContains(answer, '<span class="rollout-added">+       &quot;share_bp&quot;: 100')

    def test_lists_without_reading_the_rules(self):
        given_published()

        with CaptureQueriesContext(connection) as captured:
            self.client.get(HISTORY)

        assert not [query["sql"] for query in captured if "payload" in query["sql"]]


class TrailTests(RolloutAdminCase):
    def test_says_that_the_chain_is_whole(self):
        given_published()

        self.assertContains(self.client.get(TRAIL), "The chain is whole")

    def test_names_the_event_that_was_changed(self):
        for number in (1, 2, 3):
            given_published(document_of(), comment=f"number {number}")
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE rollout_auditevent DISABLE TRIGGER USER")
            cursor.execute("UPDATE rollout_auditevent SET actor = 'ann' WHERE id = 2")
            cursor.execute("ALTER TABLE rollout_auditevent ENABLE TRIGGER USER")

        self.assertContains(self.client.get(TRAIL), "The chain is broken at event 2:")
        self.assertContains(self.client.get(f"{TRAIL}checked/"), "broken at event 2:")

    def test_offers_nothing_that_changes_it(self):
        given_published()

        page = self.client.get(f"{TRAIL}1/change/")

        self.assertNotContains(page, 'name="_save"')
        assert self.client.post(f"{TRAIL}1/change/", {"actor": "ann"}).status_code == 403
        assert self.client.post(f"{TRAIL}1/delete/").status_code == 403
        assert AuditEvent.objects.get().actor == "bob"


class ExplainTests(RolloutAdminCase):
    def explain(self, **query):
        return self.client.get(f"{HOME}explain/", {"path": KEY, **query})

    def test_tells_every_rule_and_clause(self):
        given_published(document_of({**RULE, "share_bp": 10_000}))

        met, missed = self.explain(account="7"), self.explain(account="8")

        self.assertContains(met, "<strong>v2</strong> would serve")
        self.assertContains(met, "USER_TARGETED")
        self.assertContains(missed, "<strong>v1</strong> would serve")
        self.assertContains(missed, '<span class="rollout-bad">✗</span> account 7')

    def test_takes_headers_and_attributes(self):
        header = {"kind": "header", "name": "x-tier", "values": ["gold"]}
        given_published(document_of({**RULE, "match": [header], "share_bp": 10_000}))

        self.assertContains(self.explain(headers="X-Tier: gold"), "<strong>v2</strong>")
        self.assertContains(self.explain(headers="X-Tier: tin"), "<strong>v1</strong>")
        self.assertContains(self.explain(headers="X-Tier gold"), "write name: value")

    def test_shows_a_bucket(self):
        given_published(document_of({**RULE, "match": [], "share_bp": 0}))

        self.assertContains(self.explain(account="7"), "bucket ")


class DraftTests(RolloutAdminCase):
    page = f"{HOME}draft/"

    def setUp(self):
        super().setUp()
        given_published()
        self.base = usecases.get_current().payload

    def send(self, verb, document=None, *, seen=None, base=1, **fields):
        """Send the page as a browser does, every field of every form with it."""
        told = seen or self.base
        data = {}
        for path in Editor(told, runtime.facts).paths.values():
            for form in path.forms:
                data |= posted(form)
        text = document if isinstance(document, str) else written(document or told)
        return self.client.post(
            self.page,
            {
                **data,
                "document": text.replace("\n", "\r\n"),
                "seen": written(told).replace("\n", "\r\n"),
                "base_generation": base,
                "verb": verb,
                **fields,
            },
        )

    def draft_of(self, answer):
        return answer.context["draft"]

    def publish(self, document, **fields):
        previewed = self.draft_of(self.send("preview", document)).previewed
        return self.send(
            "publish", document, previewed=previewed, **{"comment": "because", **fields}
        )

    def test_begins_with_what_is_in_force(self):
        draft = self.draft_of(self.client.get(self.page))

        assert json.loads(draft.text) == self.base
        assert draft.base_generation == 1

    def test_begins_with_an_earlier_generation_when_asked(self):
        given_published(document_of())

        draft = self.draft_of(self.client.get(f"{self.page}?from=1"))

        assert json.loads(draft.text) == self.base
        assert draft.base_generation == 2

    def test_changes_nothing_that_nobody_touched(self):
        draft = self.draft_of(self.send("update"))

        assert draft.document == self.base
        assert (draft.errors, draft.notices, draft.faults) == ([], [], [])
        self.assert_nothing_moved(generation=1)

    def test_writes_forms_into_the_document(self):
        draft = self.draft_of(
            self.send(
                "update",
                **{
                    "rule0-share_bp": "250",
                    "rule0-note": "slowly",
                    "rule0-clause0-values": "7\r\n8",
                    "rule0-clause-new-kind": "method",
                    "rule0-clause-new-values": "POST",
                    f"release:{KEY}-canary": "v3",
                    f"release:{KEY}-fallback": "v2",
                },
            )
        )

        assert draft.document["rules"] == [
            {
                **RULE,
                "share_bp": 250,
                "note": "slowly",
                "match": [
                    {"kind": "account", "values": ["7", "8"]},
                    {"kind": "method", "values": ["POST"]},
                ],
            }
        ]
        assert draft.document["releases"][KEY] == {
            "stable": "v1",
            "canary": "v3",
            "fallback": "v2",
        }
        assert draft.faults == []

    def test_adds_a_rule_that_nobody_meets_yet(self):
        draft = self.draft_of(self.send("update", **{f"new:{KEY}-id": "everybody"}))

        assert draft.document["rules"][1] == {
            "id": "everybody",
            "path": KEY,
            "serve": "canary",
            "share_bp": 0,
            "enabled": True,
            "priority": 100,
            "trust": "any",
            "match": [],
        }
        assert draft.faults == []

    def test_wants_a_name_for_a_new_rule(self):
        answer = self.send("update", **{f"new:{KEY}-share_bp": "10"})

        self.assertContains(answer, "Name the rule")
        assert json.loads(self.draft_of(answer).text) == self.base

    def test_removes_clauses_and_rules(self):
        without_clause = self.draft_of(self.send("update", **{"rule0-clause0-remove": "on"}))
        without_rule = self.draft_of(self.send("update", **{"rule0-remove": "on"}))

        assert without_clause.document["rules"][0]["match"] == []
        assert without_rule.document["rules"] == []

    def test_takes_forms_and_document_edited_at_once(self):
        by_hand = document_of({**RULE, "priority": 7})

        draft = self.draft_of(self.send("update", by_hand, **{"rule0-share_bp": "250"}))

        assert draft.document["rules"] == [{**RULE, "priority": 7, "share_bp": 250}]

    def test_says_what_it_could_not_take_over(self):
        answer = self.send("update", document_of(), **{"rule0-share_bp": "250"})

        self.assertContains(answer, "there is no rule half in the document any more")
        assert self.draft_of(answer).document["rules"] == []

    def test_names_each_fault_at_its_pointer_and_line(self):
        faulty = document_of({**RULE, "serve": "v9"}, {**RULE, "id": "b", "share_bp": -1})

        answer = self.send("preview", faulty)

        draft = self.draft_of(answer)
        lines = draft.text.splitlines()
        assert [(fault["pointer"], lines[fault["line"] - 1].strip()) for fault in draft.faults] == [
            ("/rules/0/serve", '"serve": "v9",'),
            ("/rules/1/share_bp", '"share_bp": -1'),
        ]
        self.assertContains(answer, f"{KEY} has v1, v2, v3, not v9", count=2)
        assert draft.preview is None
        self.assert_nothing_moved(generation=1)

    def test_keeps_a_text_that_is_no_json(self):
        answer = self.send("publish", '{"rules": [', comment="because")

        self.assertContains(answer, "The document is no JSON: line 1")
        assert self.draft_of(answer).text == '{"rules": ['
        self.assert_nothing_moved(generation=1)

    def test_survives_any_json(self):
        for text in ("[]", "7", "null", '{"rules": 7}', '{"releases": [], "rules": [7, {}]}'):
            with self.subTest(text):
                answer = self.send("preview", text, **{"rule0-share_bp": "3"})
                assert answer.status_code == 200
                assert self.draft_of(answer).faults
        self.assert_nothing_moved(generation=1)

    def test_previews_who_would_move(self):
        everybody = document_of({**RULE, "match": [], "share_bp": 10_000})

        answer = self.send("preview", everybody)

        self.assertContains(answer, "10000 of 10001")
        self.assertContains(answer, "+       &quot;share_bp&quot;: 10000")
        self.assert_nothing_moved(generation=1)

    def test_publishes_what_was_previewed(self):
        changed = document_of({**RULE, "share_bp": 250})

        answer = self.publish(changed)

        self.assertRedirects(answer, f"{HISTORY}2/change/")
        assert usecases.get_current().payload == changed
        event = AuditEvent.objects.latest("id")
        assert (event.actor, event.action, event.reason) == ("operator", "publish", "because")
        assert event.request_id
        assert event.ip == "127.0.0.1"

    def test_publishes_nothing_that_was_not_previewed(self):
        for previewed in ("", "0" * 64):
            answer = self.send("publish", document_of(), previewed=previewed, comment="because")

            self.assertContains(answer, "changed since its preview")
            assert self.draft_of(answer).preview is not None
        self.assert_nothing_moved(generation=1)

    def test_publishes_nothing_without_a_reason(self):
        answer = self.publish(document_of(), comment="  ")

        self.assertContains(answer, "Say why")
        self.assert_nothing_moved(generation=1)

    def test_keeps_a_stale_draft_and_tells_who_published(self):
        given_published(document_of(RULE, segments={"x": {"ids": ["1"]}}), comment="mine first")
        changed = document_of({**RULE, "share_bp": 250})

        answer = self.publish(changed)

        self.assertContains(answer, "bob published generation 2 (mine first)")
        draft = self.draft_of(answer)
        assert json.loads(draft.text) == changed
        self.assertContains(answer, '<input type="hidden" name="comment" value="because"')
        self.assert_nothing_moved(generation=2)

    def test_brings_a_stale_draft_on_top_of_what_was_published(self):
        segments = {"x": {"ids": ["1"]}}
        given_published(document_of(RULE, segments=segments))
        changed = document_of({**RULE, "share_bp": 250})

        draft = self.draft_of(self.send("merge", changed, comment="because"))

        merged = document_of({**RULE, "share_bp": 250}, segments=segments)
        assert (draft.document, draft.base_generation) == (merged, 2)
        answer = self.send(
            "publish", merged, seen=merged, base=2, previewed=draft.previewed, comment="both"
        )
        self.assertRedirects(answer, f"{HISTORY}3/change/")
        assert usecases.get_current().payload == merged

    def test_leaves_to_the_document_what_is_too_much_for_forms(self):
        rules = [{**RULE, "id": f"rule-{number}"} for number in range(200)]
        given_published(document_of(*rules))

        answer = self.client.get(self.page)

        path = self.draft_of(answer).editor.paths[KEY]
        assert len(path.rules) + path.hidden_rules == 200
        assert answer.content.count(b' name="') < 1000
        self.assertContains(answer, "more rules: edit them in the document")

    def test_refuses_a_page_that_lost_its_fields(self):
        answer = self.client.post(self.page, {"verb": "publish", "document": "{}"})

        self.assertContains(answer, "This field is required", status_code=200)
        self.assert_nothing_moved(generation=1)


def posted(form):
    """Return what a browser sends of a form that nobody touched."""
    sent = {}
    for field in form:
        value = field.value()
        if isinstance(value, bool):
            if value:
                sent[field.html_name] = "on"
        else:
            sent[field.html_name] = "" if value is None else str(value).replace("\n", "\r\n")
    return sent
