"""The back office of stock: what is kept, counted, moved, held and imported."""

from inventory.admin import holds, imports, stock, stocktakes, transfers

__all__ = ["holds", "imports", "stock", "stocktakes", "transfers"]
