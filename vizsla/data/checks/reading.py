"""Files that cannot be read as pictures: one finding for each kind of error."""

from __future__ import annotations

from vizsla.data.checks.facts import Check, Facts
from vizsla.data.checks.finding import Finding
from vizsla.errors import IMAGE_ERROR_KINDS

_LEFT_OUT = "they are left out (--on-damaged skip); replace them"

_TABLE: dict[str, tuple[str, str]] = {
    "unreadable": ("Files that cannot be opened", f"check their permissions and the disk; {_LEFT_OUT}"),
    "empty": ("Empty files", f"copy them again; {_LEFT_OUT}"),
    "too-many-bytes": ("Files above the size limit", "raise VIZSLA_MAX_IMAGE_MB if they are meant"),
    "not-an-image": ("Files that are no pictures", f"take them away or convert them; {_LEFT_OUT}"),
    "unreadable-format": (
        "Pictures in formats that cannot be read",
        f"convert them, or install what reads them; {_LEFT_OUT}",
    ),
    "truncated": (
        "Truncated pictures",
        "copy them again, or keep their intact part by --on-damaged repair; without that they are left out",
    ),
    "damaged": ("Damaged pictures", f"copy them again; {_LEFT_OUT}"),
    "corrupt-data": (
        "Pictures that are partly broken",
        f"look at them: parts are gray, displaced or noise; {_LEFT_OUT}, or keep one by its status in the manifest",
    ),
    "too-many-pixels": ("Pictures above the pixel limit", "raise VIZSLA_MAX_MEGAPIXELS if they are meant"),
    "too-slow": ("Pictures that take too long to decode", "re-save them, or raise VIZSLA_DECODE_SECONDS"),
    "unsupported": ("Pictures with values of unknown range", f"convert them to 8 or 16 bits; {_LEFT_OUT}"),
}


def _check(kind: str) -> Check:
    title, fix = _TABLE[kind]

    def check(facts: Facts) -> Finding | None:
        found = {row: error for row, error in facts.scan.errors.items() if error.kind == kind}
        if not found:
            return None
        evidence = f"{len(found):,} of {len(facts.dataset):,} files: {IMAGE_ERROR_KINDS[kind]}."
        return Finding(kind, "error", title, evidence, fix, facts.files(sorted(found), lambda row: found[row].what))

    return check


CHECKS = tuple(_check(kind) for kind in _TABLE)
