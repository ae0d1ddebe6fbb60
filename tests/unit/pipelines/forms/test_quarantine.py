import json
import pickle

from pipelines.forms.quarantine import BadSample, QuarantineEntry, by_fate, in_words


def test_a_fate_survives_another_process_and_a_file() -> None:
    bad = pickle.loads(pickle.dumps(BadSample("too slow", "timed_out")))
    assert (bad.reason, bad.fate, str(bad)) == ("too slow", "timed_out", "too slow")
    assert BadSample("cut off").fate == "damaged"
    entry = QuarantineEntry("a", "a.png", "gone", "missing")
    assert QuarantineEntry(**json.loads(entry.to_json())) == entry
    assert QuarantineEntry(**{"key": "a", "uri": "a.png", "reason": "of old"}).fate == "damaged"


def test_fates_are_counted_and_said() -> None:
    counted = by_fate(["missing", "timed_out", "missing"])
    assert counted == {"missing": 2, "damaged": 0, "timed_out": 1}
    assert in_words(counted) == "3 (2 missing, 1 timed out)"
    assert in_words(by_fate([])) == "0"
