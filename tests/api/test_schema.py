"""The schema tells of every address, verb, scope and refusal that there is."""

import re

from django.test import SimpleTestCase
from django.urls import get_resolver
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema

from config.catalogue import list_refusals
from config.problems import STATUS_BY_KIND
from events.api import serializers as events
from inventory.api import hold_serializers as holds
from inventory.api import locations, stocktakes, transfers
from inventory.api import serializers as inventory
from orders.api import change_serializers as order_changes
from orders.api import serializers as orders
from rollout.api import serializers as rollout

QUERIES = {
    "list_orders": orders.OrderQuery,
    "export_orders": orders.ExportQuery,
    "list_order_events": orders.EventQuery,
    "read_events": events.FeedQuery,
    "list_notes": orders.EventQuery,
    "list_webhook_deliveries": events.DeliveryQuery,
    "list_holds": holds.HoldQuery,
    "list_skus": inventory.PageQuery,
    "list_stock": inventory.StockQuery,
    "list_transfers": transfers.TransferQuery,
    "list_stocktakes": stocktakes.StocktakeQuery,
    "list_stock_movements": inventory.MovementQuery,
    "explain_call": rollout.ExplainQuery,
    "list_generations": rollout.PageQuery,
    "compare_generations": rollout.DiffQuery,
    "list_audit_events": rollout.OfPathQuery,
    "list_transitions": rollout.OfPathQuery,
    "publish_rules": rollout.WaitQuery,
    "roll_back_rules": rollout.WaitQuery,
    "promote_canary": rollout.WaitQuery,
    "pull_kill_switch": rollout.WaitQuery,
    "lift_kill_switch": rollout.WaitQuery,
    "set_breaker_mode": rollout.WaitQuery,
}
BODIES = {
    "create_webhook": events.EndpointIn,
    "update_webhook": events.EndpointChange,
    "rotate_webhook_secret": events.RotationIn,
    "test_webhook": events.PingIn,
    "replay_webhook": events.ReplayIn,
    "place_order": orders.OrderIn,
    "place_orders": orders.BulkSchema,
    "cancel_order": order_changes.CancelIn,
    "record_payment": order_changes.PaymentIn,
    "fulfill_order": order_changes.FulfillmentIn,
    "return_units": order_changes.ReturnIn,
    "add_note": order_changes.NoteIn,
    "place_hold": holds.HoldIn,
    "extend_hold": holds.ExtensionIn,
    "release_hold": holds.ReleaseIn,
    "create_sku": inventory.SkuIn,
    "update_sku": inventory.SkuChange,
    "check_availability": inventory.AvailabilityIn,
    "receive_stock": inventory.ReceiptIn,
    "adjust_stock": inventory.AdjustmentIn,
    "count_stock": inventory.CountIn,
    "quarantine_stock": inventory.QuarantineIn,
    "set_stock_policy": inventory.PolicyChange,
    "create_location": locations.LocationIn,
    "update_location": locations.LocationChange,
    "send_transfer": transfers.TransferIn,
    "receive_transfer": transfers.TransferReceiptIn,
    "cancel_transfer": transfers.TransferCancelIn,
    "open_stocktake": stocktakes.StocktakeIn,
    "count_stocktake": stocktakes.CountsIn,
    "approve_stocktake": stocktakes.ApprovalIn,
    "cancel_stocktake": stocktakes.NothingIn,
    "publish_rules": rollout.PublishIn,
    "validate_rules": rollout.DraftIn,
    "preview_rules": rollout.PreviewIn,
    "roll_back_rules": rollout.RollBackIn,
    "promote_canary": rollout.PromoteIn,
    "pull_kill_switch": rollout.KillIn,
    "lift_kill_switch": rollout.KillIn,
    "set_breaker_mode": rollout.BreakerModeIn,
}
CHANGING = {"cancel_order", "record_payment", "fulfill_order", "return_units", "add_note"}
HOLDING = {"place_hold", "extend_hold", "release_hold"}
KEYED = (
    {
        "place_order",
        "receive_stock",
        "adjust_stock",
        "count_stock",
        "quarantine_stock",
        "send_transfer",
        "receive_transfer",
        "cancel_transfer",
        "open_stocktake",
        "count_stocktake",
        "approve_stocktake",
        "cancel_stocktake",
    }
    | CHANGING
    | HOLDING
)


def views_of(resolver, path="/"):
    """Return each address below a resolver, as the schema writes it, and its view."""
    for found in resolver.url_patterns:
        here = path + re.sub(
            r"\(\?P<(\w+)>[^)]*\)|<\w+:(\w+)>", r"{\1\2}", str(found.pattern).strip("^$")
        )
        if hasattr(found, "url_patterns"):
            yield from views_of(found, here)
        else:
            yield here, found.callback


class SchemaTests(SimpleTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        GENERATOR_STATS.reset()
        cls.schema = SchemaGenerator().get_schema(request=None, public=True)
        cls.operations = {
            operation["operationId"]: operation | {"path": path, "verb": verb}
            for path, verbs in cls.schema["paths"].items()
            for verb, operation in verbs.items()
        }
        cls.of_api = {
            name: operation
            for name, operation in cls.operations.items()
            if operation["path"].startswith("/api/v1/")
        }

    def headers_of(self, answer):
        return set(answer.get("headers", ()))

    def parameters_of(self, operation):
        return [
            self.schema["components"]["parameters"][parameter["$ref"].rsplit("/", 1)[1]]
            if "$ref" in parameter
            else parameter
            for parameter in operation["parameters"]
        ]

    def test_is_valid_and_was_made_without_a_warning(self):
        validate_schema(self.schema)

        assert not GENERATOR_STATS
        assert self.schema["openapi"] == "3.1.0"

    def test_has_every_verb_of_every_address_with_its_scope(self):
        served = set()
        for path, view in views_of(get_resolver()):
            for verb, action in (getattr(view, "actions", None) or {}).items():
                if verb != "head":
                    served.add((view.cls.__name__, verb, view.cls.scopes[action]))
                    told = self.schema["paths"][path][verb]
                    assert told["security"] == [{"apiKey": [view.cls.scopes[action]]}]
                    assert f"`{view.cls.scopes[action]}`" in told["description"]

        assert len(self.of_api) == 73
        assert {scope for _, _, scope in served} == {
            scope
            for operation in self.of_api.values()
            for scope in operation["security"][0]["apiKey"]
        }

    def test_gives_every_operation_words_and_a_tag(self):
        tags = {tag["name"] for tag in self.schema["tags"]}
        for name, operation in self.operations.items():
            assert re.fullmatch(r"[a-z]+(_[a-z]+)+", name), name
            assert operation["summary"], name
            assert set(operation["tags"]) <= tags, name
        assert {"get_liveness", "get_readiness", "list_errors", "get_error"} <= set(self.operations)

    def test_has_the_parameters_of_the_query_models(self):
        for name, operation in self.of_api.items():
            told = {
                parameter["name"]
                for parameter in self.parameters_of(operation)
                if parameter["in"] == "query"
            }
            model = QUERIES.get(name)
            assert told == (set(model.model_fields) if model else set()), name

    def test_asks_for_a_key_where_one_is_needed_and_nowhere_else(self):
        for name, operation in self.of_api.items():
            headers = {
                parameter["name"]: parameter.get("required", False)
                for parameter in self.parameters_of(operation)
                if parameter["in"] == "header"
            }
            assert headers["X-Request-Id"] is False
            assert headers.get("Idempotency-Key", False) is (name in KEYED), name

    def test_takes_and_gives_what_the_models_say(self):
        bodies = {name: op for name, op in self.of_api.items() if "requestBody" in op}

        assert set(bodies) == set(BODIES)
        for name, operation in bodies.items():
            content = operation["requestBody"]["content"]["application/json"]
            assert operation["requestBody"]["required"] is True
            assert content["schema"]["$ref"].endswith(f"/{BODIES[name].__name__}")
            for example in content["examples"].values():
                BODIES[name].model_validate(example["value"])
        placed = self.of_api["place_order"]["responses"]["201"]["content"]["application/json"]
        for example in placed["examples"].values():
            orders.OrderOut.model_validate(example["value"])

    def test_says_the_headers_of_answers(self):
        for name in KEYED:
            answers = self.of_api[name]["responses"]
            done = answers.get("201") or answers["200"]
            assert "Idempotent-Replayed" in self.headers_of(done)
            assert {"Idempotent-Replayed", "Retry-After"} <= self.headers_of(answers["409"])
        assert {"ETag", "Location"} <= self.headers_of(
            self.of_api["place_order"]["responses"]["201"]
        )
        for name in CHANGING:
            assert "ETag" in self.headers_of(self.of_api[name]["responses"]["201"])
            assert "412" in self.of_api[name]["responses"]
            assert "If-Match" in {told["name"] for told in self.parameters_of(self.of_api[name])}
        assert "ETag" in self.headers_of(self.of_api["get_order"]["responses"]["200"])
        assert "Location" in self.headers_of(self.of_api["create_sku"]["responses"]["201"])
        for operation in self.of_api.values():
            for answer in operation["responses"].values():
                assert "X-Request-Id" in self.headers_of(answer)

    def test_tells_every_refusal_as_a_problem_of_the_right_status(self):
        refusals = list_refusals()
        for operation in self.of_api.values():
            told = {status for status in operation["responses"] if status >= "400"}
            assert told >= {"400", "401", "403", "500", "503"}
            if "requestBody" in operation:
                assert told >= {"411", "413", "415", "422"}
            for status in told:
                content = operation["responses"][status]["content"]
                assert list(content) == ["application/problem+json"]
                schema = content["application/problem+json"]["schema"]
                assert schema["$ref"] == "#/components/schemas/Problem"
                for code in schema["properties"]["code"]["enum"]:
                    kinds = {refusal.kind for refusal in refusals[code]}
                    assert {str(STATUS_BY_KIND[kind]) for kind in kinds} == {status}, code
                    assert code in self.schema["components"]["examples"]

    def test_names_the_refusals_of_the_business(self):
        codes = self.of_api["place_order"]["responses"]["409"]["content"]
        codes = codes["application/problem+json"]["schema"]["properties"]["code"]["enum"]

        assert codes == ["request_in_progress", "insufficient_stock", "hold_not_live"]
