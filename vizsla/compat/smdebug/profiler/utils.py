"""Small functions that AWS's example scripts import from here."""

from __future__ import annotations


def str2bool(v: object) -> bool:
    """True for yes, true, t, y and 1, for ``argparse``.

    Raises
    ------
    ValueError
        For any other word.
    """
    if isinstance(v, bool):
        return v
    word = str(v).lower()
    if word in ("yes", "true", "t", "y", "1"):
        return True
    if word in ("no", "false", "f", "n", "0"):
        return False
    raise ValueError(f"{v!r} is neither true nor false")
