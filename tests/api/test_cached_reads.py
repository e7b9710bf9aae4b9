"""Orders and availability through Redis, which may vanish, lie or hang."""

import uuid
from contextlib import suppress
from unittest.mock import patch

from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.test import SimpleTestCase, TestCase, override_settings
from gevent import GreenletExit

from config import cache as guarded
from config.instant import has_input
from inventory.models import StockLevel
from orders.models import Order
from orders.reading import FORMAT, OrderText, keep_texts
from rollout.codepath import override
from tests.api.caller import Caller
from tests.builders import given_account, given_api_key, given_stock, place
from tests.commands.processes import wait_until

NOWHERE = {
    "default": {
        "BACKEND": "config.cache.GuardedRedisCache",
        "LOCATION": "redis://127.0.0.1:1/0",
        "OPTIONS": {"SOCKET_CONNECT_TIMEOUT": 0.1, "SOCKET_TIMEOUT": 0.1},
    }
}


class CachedOrderTests(TestCase):
    def setUp(self):
        self.enterContext(override(orders_place="v1", orders_get="v2"))
        self.account = given_account()
        self.shop = Caller(given_api_key(self.account))
        given_stock("CUP", on_hand=10)
        cache.clear()
        self.placed = place({"CUP": 1}, account=self.account)
        self.path = self.placed.location.removeprefix("/api/v1")

    def key(self):
        return f"order:{FORMAT}:{self.account.pk}:{self.placed.location}"

    def test_reads_a_placed_order_without_asking_the_database_for_it(self):
        Order.objects.update(customer="changed behind the cache")

        answer = self.shop.get(self.path)

        self.assertEqual(answer.content.decode(), self.placed.body)
        self.assertEqual(answer.headers["ETag"], '"1"')

    def test_a_reader_leaves_what_a_change_wrote_while_it_was_reading(self):
        cache.clear()
        newer = OrderText('{"version": 2}', '"2"')

        def change_behind(execute, sql, params, many, context):
            found = execute(sql, params, many, context)
            if "orders_line" in sql:
                keep_texts([(self.account.pk, self.placed.location, newer)])
            return found

        with connection.execute_wrapper(change_behind):
            before = self.shop.get(self.path)
        after = self.shop.get(self.path)

        self.assertEqual(before.json()["version"], 1)
        self.assertEqual((after.content.decode(), after.headers["ETag"]), (newer.body, newer.etag))

    def test_reads_the_database_when_the_caller_wants_it_fresh(self):
        Order.objects.update(customer="c-99")

        answer = self.shop.get(self.path, **{"Cache-Control": "no-cache"})

        self.assertEqual(answer.json()["customer"], "c-99")

    def test_never_shows_an_order_to_another_account(self):
        stranger = given_account("stranger")
        cache.set(f"order:{FORMAT}:{stranger.pk}:{self.placed.location}", cache.get(self.key()))

        answer = Caller(given_api_key(stranger)).get(self.path)

        self.assertEqual(answer.status_code, 404)

    def test_believes_nothing_that_it_did_not_write(self):
        forged = f'{"0" * 64}\n"1"\n{{"id": "x"}}'
        for lie in ("garbage", "\n\n", 7, ["x"], {"a": 1}, forged, f"\u00e9{forged}", None):
            with self.subTest(lie):
                cache.set(self.key(), lie)

                answer = self.shop.get(self.path)

                self.assertEqual(answer.json()["id"], str(Order.objects.get().pk))

    def test_believes_what_was_sealed_with_the_former_secret_while_it_is_a_fallback(self):
        Order.objects.update(customer="changed behind the cache")
        former = settings.SECRET_KEY
        for fallbacks, customer in (([former], "c-17"), ([], "changed behind the cache")):
            with (
                self.subTest(fallbacks),
                override_settings(SECRET_KEY="another", SECRET_KEY_FALLBACKS=fallbacks),
            ):
                self.assertEqual(self.shop.get(self.path).json()["customer"], customer)

    def test_reads_past_bytes_that_are_no_value_at_all(self):
        for garbage in (b"\xff\x00not json", b'"cut off', b"[" * 100_000):
            with self.subTest(garbage[:9]):
                cache.client.get_client().set(cache.make_key(self.key()), garbage)

                self.assertEqual(self.shop.get(self.path).status_code, 200)

    def test_reads_the_database_when_redis_is_flushed(self):
        cache.clear()

        self.assertEqual(self.shop.get(self.path).status_code, 200)
        self.assertIsNotNone(cache.get(self.key()))

    @override_settings(CACHES=NOWHERE)
    def test_reads_and_takes_orders_when_redis_is_gone(self):
        again = place({"CUP": 1}, account=self.account)

        self.assertEqual(self.shop.get(self.path).status_code, 200)
        self.assertEqual(again.status, 201)

    def test_says_that_an_order_is_missing_when_it_is(self):
        answer = self.shop.get(f"/orders/{uuid.uuid4()}")

        self.assertEqual(answer.status_code, 404)


class CachedAvailabilityTests(TestCase):
    def setUp(self):
        self.enterContext(override(inventory_availability="v2"))
        self.shop = Caller(given_api_key())
        given_stock("CUP", on_hand=10)
        cache.clear()

    def ask(self, *codes):
        return self.shop.post("/stock/availability", {"skus": list(codes)}).json()

    def test_answers_from_the_cache_and_says_how_old_that_is(self):
        first = self.ask("CUP")
        StockLevel.objects.update(safety=4)

        again = self.ask("CUP", "NONE")

        self.assertEqual(again["data"][0]["available"], 10)
        self.assertEqual(again["data"][1]["is_known"], False)
        self.assertEqual(again["as_of"], first["as_of"])

    def test_asks_the_database_when_what_it_has_is_too_old(self):
        self.ask("CUP")
        StockLevel.objects.update(safety=4)

        with override_settings(AVAILABILITY_CACHE_S=0):
            again = self.ask("CUP")

        self.assertEqual(again["data"][0]["available"], 6)

    def test_believes_nothing_that_it_did_not_write(self):
        given_stock("POT", on_hand=3)
        self.ask("CUP")
        for lie in ("garbage", 7, cache.get("availability:1:CUP")):
            with self.subTest(lie):
                cache.set("availability:1:POT", lie)

                self.assertEqual(self.ask("POT")["data"][0]["available"], 3)

    @override_settings(CACHES=NOWHERE)
    def test_answers_live_when_redis_is_gone(self):
        self.assertEqual(self.ask("CUP")["data"][0]["available"], 10)


class ManyValuesTests(SimpleTestCase):
    def setUp(self):
        cache.clear()
        self.pool = cache.client.get_client(write=True).connection_pool

    def free(self) -> int:
        return sum(place is not None for place in self.pool.pool.queue)

    def test_are_written_for_as_long_as_is_said(self):
        for timeout, left in ((60, 60), (None, None), (0, 0), (-1, 0), (0.0001, 0)):
            with self.subTest(timeout):
                self.assertEqual(cache.set_many({"a": 1, "b": [2]}, timeout=timeout), [])

                self.assertEqual(cache.ttl("a"), left)
                self.assertEqual(
                    cache.get_many(["a", "b"]), {} if left == 0 else {"a": 1, "b": [2]}
                )

    def test_come_back_as_they_were(self):
        values = {
            "text": "a",
            "digits": "12",
            "quoted": '"',
            "number": 12,
            "less": -1.5,
            "yes": True,
        }
        values |= {"list": ["a", None], "object": {"a": "1"}}
        cache.set_many(values, timeout=60)

        self.assertEqual({key: cache.get(key) for key in values}, values)

    def test_go_to_redis_in_large_pieces(self):
        one = self.pool.get_connection()
        self.pool.release(one)
        kind = type(one)
        with patch.object(
            kind, "send_packed_command", autospec=True, side_effect=kind.send_packed_command
        ) as sent:
            cache.set_many({str(n): "x" * 1000 for n in range(40)}, timeout=60)
            cache.set_many({str(n): "y" * 1000 for n in range(100)}, timeout=60)

        pieces = [len(call.args[1]) for call in sent.call_args_list]
        self.assertEqual(pieces[-2:], [1, 2])
        self.assertEqual([cache.get(str(n)) for n in range(100)], ["y" * 1000] * 100)

    def test_none_at_all_ask_for_no_connection(self):
        with patch.object(self.pool, "get_connection") as get_connection:
            self.assertEqual(cache.set_many({}, timeout=60), [])

        get_connection.assert_not_called()

    def test_leave_no_answers_behind_for_the_next_caller(self):
        cache.set("known", "well")
        free = self.free()
        one = self.pool.get_connection()
        self.pool.release(one)
        kind = type(one)
        for failure in (TimeoutError("in the middle"), GreenletExit()):
            with (
                self.subTest(failure),
                patch.object(kind, "read_response", side_effect=failure),
                patch.object(
                    kind, "disconnect", autospec=True, side_effect=kind.disconnect
                ) as hung_up,
                suppress(GreenletExit),
            ):
                cache.set_many({"a": 1, "b": 2}, timeout=60)
            guarded._guards[cache._server]._is_away = False

            hung_up.assert_called_once()
            self.assertEqual(cache.get("known"), "well")
            self.assertEqual(self.free(), max(1, free))


class ConnectionTests(SimpleTestCase):
    def test_whose_server_has_hung_up_is_not_used(self):
        cache.set("kept", 1)
        pool = cache.client.get_client().connection_pool
        used = pool.get_connection()
        pool.release(used)

        killed = cache.client.get_client().client_kill_filter(_type="normal", skipme=False)

        self.assertGreater(killed, 0)
        wait_until(lambda: has_input(used._sock))  # It hangs up on us after it has answered us.
        self.assertEqual(cache.get("kept"), 1)
        again = pool.get_connection()
        self.assertIs(again, used)
        self.assertIsInstance(again._parser, guarded.Parser)
        self.assertFalse(again.can_read())
        pool.release(again)


class GuardTests:
    def test_asks_ever_more_seldom_while_redis_is_away(self):
        now, calls = [0.0], []
        guard = guarded.Guard(lambda: now[0])

        def call():
            calls.append(now[0])
            raise ConnectionRefusedError

        for tenth in range(300):
            now[0] = tenth / 10
            assert guard.ask(call, "miss") == "miss"

        assert calls == [0, 1, 3, 7, 15, 23]

    def test_asks_always_once_redis_is_back(self):
        now = [0.0]
        guard = guarded.Guard(lambda: now[0])
        guard.ask(self.fail, "miss")
        now[0] = 1.0

        assert [guard.ask(lambda: "hit", "miss") for _ in range(3)] == ["hit"] * 3

    def test_a_value_that_cannot_be_read_is_a_miss_and_no_outage(self):
        guard = guarded.Guard(lambda: 0.0)

        def unreadable():
            raise ValueError

        assert guard.ask(unreadable, "miss") == "miss"
        assert guard.ask(lambda: "hit", "miss") == "hit"

    def fail(self):
        raise TimeoutError
