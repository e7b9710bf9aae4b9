"""The goods of `make run`."""

from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import TestCase

from inventory.models import Sku, StockLevel


class LoadDemoTests(TestCase):
    def test_adds_goods_with_stock(self) -> None:
        call_command("load_demo", verbosity=0)

        on_hand = dict(StockLevel.objects.values_list("sku__code", "on_hand"))
        assert on_hand == {"DEMO-CUP": 1000, "DEMO-TEAPOT": 200, "DEMO-TRAY": 50, "DEMO-LAMP": 1}
        assert not User.objects.get(username="demo").has_usable_password()

    def test_changes_nothing_the_second_time(self) -> None:
        call_command("load_demo", verbosity=0)
        StockLevel.objects.filter(sku__code="DEMO-LAMP").update(on_hand=0)
        Sku.objects.filter(code="DEMO-CUP").update(price_minor=1)

        call_command("load_demo", verbosity=0)

        assert StockLevel.objects.get(sku__code="DEMO-LAMP").on_hand == 0
        assert StockLevel.objects.get(sku__code="DEMO-CUP").on_hand == 1000
        assert Sku.objects.get(code="DEMO-CUP").price_minor == 1
