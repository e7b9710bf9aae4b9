"""A migration changes a table under the prepared statements of running servers."""

from rollout.codepath import override
from tests.builders import given_account, given_stock, level_of, place
from tests.committed import CommittedTestCase

WIDEN = "ALTER TABLE inventory_sku ALTER COLUMN name TYPE varchar(300)"
NARROW = "ALTER TABLE inventory_sku ALTER COLUMN name TYPE varchar(255)"
# A statement is prepared when it comes for the sixth time.
OFTEN = 8


class ChangedTableTests(CommittedTestCase):
    def test_the_next_order_is_taken_as_if_nothing_had_happened(self):
        account = given_account()
        given_stock("CUP", on_hand=OFTEN + 1)
        self.enterContext(override(orders_place="v1"))
        for _ in range(OFTEN):
            place(account=account)

        self.alter(WIDEN)
        self.addCleanup(self.alter, NARROW)
        answer = place(account=account)

        self.assertEqual(answer.status, 201)
        self.assertFalse(answer.is_replayed)
        self.assertEqual(level_of("CUP").allocated, OFTEN + 1)

    def alter(self, statement):
        with self.a_session() as theirs:
            theirs.execute(statement)
            theirs.commit()
