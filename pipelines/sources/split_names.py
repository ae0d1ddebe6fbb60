"""The names of splits, in folders and lists, by every spelling in use."""

import re

READY_SPLITS = {
    "train": "train",
    "test": "test",
    "val": "select",
    "valid": "select",
    "validation": "select",
    "select": "select",
    "pretrain": "pretrain",
    "unlabeled": "pretrain",
    "unlabelled": "pretrain",
}
"""name -> split as it is called here; without a test folder `val` is the test split, as in ImageNet"""

_SPELLINGS = READY_SPLITS | {
    "training": "train",
    "trn": "train",
    "testing": "test",
    "tests": "test",
    "tst": "test",
    "eval": "test",
    "evaluation": "test",
    "heldout": "test",
    "holdout": "test",
    "validate": "select",
    "valing": "select",
    "dev": "select",
    "development": "select",
}
_AROUND = re.compile(r"^(the|final|official|images?|imgs?|data)|(set|split|images?|imgs?|data|files|folder)$")

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_NO_REST = {"set", "split", "data", "image", "images", "img", "imgs"}
_CERTAIN = {"val", "validation", "unlabeled", "unlabelled"}


def split_of(name: str) -> str:
    """Return the split that a folder or an entry of a list is called after; empty: none.

    Case, signs, years and words around the name make no difference: Train, TEST, training_set, images-val,
    test2017 and trainset are splits; trains and testament are none.
    """
    letters = re.sub(r"[^a-z]", "", name.lower())
    while letters not in _SPELLINGS:
        shorter = _AROUND.sub("", letters, count=1)
        if shorter == letters:
            return ""
        letters = shorter
    return _SPELLINGS[letters]


def split_within(name: str) -> tuple[str, str]:
    """Return the split that one word of a name is called after, and the rest of the name; both empty: none.

    seg_train and SegTest, trainA and testA are splits of the same rest; bullet_train and test_tube have
    different rests.
    """
    words = [word.lower() for word in _WORDS.findall(name)]
    found = [word for word in words if word in _SPELLINGS]
    if len(words) < 2 or len(found) != 1:
        return "", ""
    rest = (word for word in words if word != found[0] and len(word) > 1 and word not in _NO_REST)
    return _SPELLINGS[found[0]], "_".join(rest)


def is_hardly_a_class(name: str) -> bool:
    """Return whether a name is a split's even beside classes; classes may be called train, valid and dev."""
    return split_of(name) == "test" or name.strip().lower() in _CERTAIN


def is_validation(name: str) -> bool:
    """Return whether a name is one of those that are the test split where there is no other."""
    return split_of(name) == "select" and "select" not in name.lower()
