"""
When the garbage collector looks: while nobody waits for an answer.

Calls leave it next to nothing (config.rest.let_go). Each under way holds two hundred objects, and
left to itself Python looks through those of all calls under way, for milliseconds, to find nothing.
"""

import gc

# So many objects more than at the last look are worth another, of the youngest alone; so many
# looks at a generation are worth one at the next older.
YOUNG_MIN = 100
LOOKS_EACH_MIDDLE, LOOKS_EACH_OLD = 20, 50
# Where there is never a moment of rest it looks all the same; 128 calls under way are less.
YOUNG_MAX = 30_000


def settle() -> None:
    """Keep Python from looking in the middle of calls."""
    gc.set_threshold(YOUNG_MAX, LOOKS_EACH_MIDDLE, LOOKS_EACH_OLD)


def rest() -> None:
    """Look, if it is worth it, now that no call is under way."""
    young, middle, old = gc.get_count()
    if young >= YOUNG_MIN:
        gc.collect(2 if old >= LOOKS_EACH_OLD else 1 if middle >= LOOKS_EACH_MIDDLE else 0)
