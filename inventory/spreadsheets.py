"""
Cells that a spreadsheet shows and does not run. Pure.

A cell that begins with one of MEANT_AS_FORMULA is a formula to a spreadsheet, whoever typed it into
a name or a reference: OWASP, "CSV Injection". An apostrophe before it makes it text.
"""

MEANT_AS_FORMULA = ("=", "+", "-", "@", "\t", "\r")
MARK = "'"


def guarded(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula."""
    return f"{MARK}{cell}" if cell.startswith(MEANT_AS_FORMULA) else cell


def unguarded(cell: str) -> str:
    """Return what a cell was before it was guarded; any other is returned as it is."""
    is_marked = cell.startswith(MARK) and cell[1:].startswith(MEANT_AS_FORMULA)
    return cell[1:] if is_marked else cell
