"""Which split the name of a folder means."""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache

from vizsla.data.dataset import Split

SPLIT_FOLDERS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "test": "test",
    "testing": "test",
}
"""Words (in any case) that mean a split."""

_WORDS: dict[str, Split] = SPLIT_FOLDERS | {
    "trn": "train",
    "tr": "train",
    "trainval": "train",
    "learn": "train",
    "learning": "train",
    "vali": "valid",
    "validate": "valid",
    "dev": "valid",
    "development": "valid",
    "tst": "test",
}
_EITHER = frozenset(("eval", "evaluation", "evaluate", "holdout", "heldout"))
"""Words for what is held back: the test split, or the valid split where another folder is the test split."""
_PLAIN = frozenset(
    "set sets data dataset datasets image images img imgs picture pictures pic pics photo photos split splits folder "
    "folders file files class classes labelled labeled".split()
)
"""Words beside a split's that say nothing else."""
_UNLABELLED = re.compile(r"(un ?label+ed|no ?labels?|un ?sorted|un ?annotated)\b")
_GLUED = re.compile(rf"([a-z]+?)({'|'.join(sorted(_PLAIN, key=len, reverse=True))})")


@lru_cache(maxsize=1 << 12)
def split_of(name: str, *, plainly: bool = False, beside: frozenset[Split] = frozenset()) -> Split | None:
    """The split that a name means by its words, or None where it means none or several.

    Parameters
    ----------
    plainly:
        Whether every word must be about splits and pictures, as in ``Training Set``; else other words may stand beside
        it, as in ``flowers_train``.
    beside:
        Splits that other folders are: an ``eval`` beside a ``test`` is the valid split.

    >>> split_of("Training Set"), split_of("valid-images"), split_of("TestSet2"), split_of("trains")
    ('train', 'valid', 'test', None)
    >>> split_of("freight train", plainly=True) is None
    True
    """
    words = _words(name)
    meant: set[Split] = {_WORDS[word] for word in words if word in _WORDS}
    if not meant and _EITHER.intersection(words):
        meant = {"valid" if "test" in beside else "test"}
    if len(meant) != 1 or (plainly and not says_nothing(name)):
        return None
    return meant.pop()


def split_of_path(path: str) -> Split | None:
    """The split that the folders above a picture name, the outermost first.

    >>> split_of_path("train/cat/1.jpg"), split_of_path("cat/test.jpg")
    ('train', None)
    """
    return next((split for part in path.split("/")[:-1] if (split := split_of(part, plainly=True))), None)


def splits_of(names: list[str], *, plainly: bool = False) -> dict[str, Split | None]:
    """What each of several names that stand side by side means.

    ``plainly`` a name means a split also where another one differs from it by nothing but the word for its split.

    >>> splits_of(["asl_train", "asl_test", "freight train"], plainly=True)
    {'asl_train': 'train', 'asl_test': 'test', 'freight train': None}
    """
    sure = frozenset(split for name in names if not _EITHER & {*_words(name)} and (split := split_of(name)))
    meant = {name: split_of(name, beside=sure) for name in names}
    if not plainly:
        return meant
    pairs = {(_subject(name), split) for name, split in meant.items() if split}
    subjects = Counter(subject for subject, _ in pairs)
    return {
        name: split if says_nothing(name) or subjects[_subject(name)] > 1 else None for name, split in meant.items()
    }


def says_unlabelled(name: str) -> bool:
    """Whether a name says that what lies there has no label: ``unlabeled``, ``no_label`` (as CVAT exports it).

    >>> says_unlabelled("Unlabelled images"), says_unlabelled("labels")
    (True, False)
    """
    return _UNLABELLED.match(" ".join(_words(name))) is not None


def says_nothing(name: str) -> bool:
    """Whether a name speaks of nothing but splits and pictures, and so of no class: ``images``, ``train_imgs_b``."""
    words = [word for word in _words(name) if len(word) > 1]
    return bool(words) and all(word in _WORDS or word in _PLAIN or word in _EITHER for word in words)


def _subject(name: str) -> tuple[str, ...]:
    """What a name is about beside the split."""
    return tuple(word for word in _words(name) if word not in _WORDS and word not in _EITHER)


def _words(name: str) -> list[str]:
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    apart = re.sub(r"\b(hold|held)[\W_]?out", r"\1out", apart.replace("_", " "))
    words: list[str] = []
    for word in re.findall(r"[^\W\d_]+", apart):
        glued = None if word in _WORDS or word in _EITHER else _GLUED.fullmatch(word)
        words += glued.groups() if glued and (glued[1] in _WORDS or glued[1] in _EITHER) else [word]
    return words
