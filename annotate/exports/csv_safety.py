"""PURE: cells that a spreadsheet shows instead of running."""

# OWASP's list: a cell that begins like this is a formula to Excel, LibreOffice and Google Sheets (CVE-2021-41270).
_STARTERS = ("=", "+", "-", "@", "\t", "\r")


def formula_safe(cell: object) -> object:
    """The cell, with an apostrophe before text that a spreadsheet would take for a formula. Numbers stay numbers."""
    if isinstance(cell, (int, float)) or cell is None:
        return cell
    text = str(cell)
    return f"'{text}" if text.startswith(_STARTERS) else text
