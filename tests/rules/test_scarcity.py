"""orders.scarcity: who wants what was scarce a moment ago does not hope for plenty."""

from orders.scarcity import SCARCE_MAX, SCARCE_S, Scarce


class ScarceTests:
    def setup_method(self):
        self.now_s = 100.0
        self.scarce = Scarce(clock=lambda: self.now_s)

    def test_knows_a_sku_for_a_while(self):
        self.scarce.add({"CUP"})

        assert not self.scarce.isdisjoint({"POT", "CUP"})
        assert self.scarce.isdisjoint({"POT"})
        self.now_s += SCARCE_S
        assert self.scarce.isdisjoint({"CUP"})

    def test_knows_it_for_longer_when_it_is_scarce_again(self):
        self.scarce.add({"CUP"})
        self.now_s += SCARCE_S / 2
        self.scarce.add({"CUP"})
        self.now_s += SCARCE_S / 2

        assert not self.scarce.isdisjoint({"CUP"})

    def test_forgets_all_before_it_knows_too_many(self):
        self.scarce.add(f"S-{n}" for n in range(SCARCE_MAX))
        self.scarce.add({"CUP"})

        assert self.scarce.isdisjoint({"S-0"})
        assert not self.scarce.isdisjoint({"CUP"})
