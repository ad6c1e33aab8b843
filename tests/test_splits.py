"""Split protocols: nothing is on two sides, everything is tested once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline import params
from pipeline.corpus import splits
from pipeline.corpus.splits import Fold, SplitError

SESSION = params.Split(protocol="session", folds=10, seed=0)


def random(folds: int = 10, seed: int = 0) -> params.Split:
    return params.Split(protocol="random", folds=folds, seed=seed)


def make_table(sessions: list[int]) -> pd.DataFrame:
    """Return a row for each entry, in sessions by number, two speakers a session."""
    return pd.DataFrame(
        {
            "utterance": [f"Ses0{s}F_impro01_{'FM'[i % 2]}{i:03d}" for i, s in enumerate(sessions)],
            "session": sessions,
            "speaker": [f"Ses0{s}{'FM'[i % 2]}" for i, s in enumerate(sessions)],
        }
    )


tables = st.lists(st.tuples(st.integers(1, 5), st.integers(-1, 4)), min_size=1, max_size=120)


def parts(fold: Fold) -> list[set[str]]:
    return [set(fold.train), set(fold.development), set(fold.test)]


def check(folds: list[Fold], labelled: set[str]) -> None:
    """Each fold divides the labelled utterances, and each of them is tested once."""
    for fold in folds:
        train, development, test = parts(fold)
        assert all((train, development, test))
        assert not (train & development or train & test or development & test)
        assert train | development | test == labelled
        for part in (fold.train, fold.development, fold.test):
            assert list(part) == sorted(set(part))
    tested = [utterance for fold in folds for utterance in fold.test]
    assert sorted(tested) == sorted(labelled)


@given(tables)
def test_session_keeps_sessions_and_speakers_apart(rows: list[tuple[int, int]]) -> None:
    table = make_table([session for session, _ in rows])
    classes = np.array([label for _, label in rows])
    labelled = table[classes >= 0]
    sessions = sorted(set(labelled["session"]))
    if len(sessions) < 3:
        with pytest.raises(SplitError, match=r"needs labelled utterances of 3 sessions"):
            splits.folds(table, classes, SESSION)
        return
    folds = splits.folds(table, classes, SESSION)
    check(folds, set(labelled["utterance"]))
    assert [fold.number for fold in folds] == sessions
    by_id = labelled.set_index("utterance")
    for place, fold in enumerate(folds):
        assert set(by_id.loc[list(fold.test), "session"]) == {fold.number}
        following = sessions[(place + 1) % len(sessions)]
        assert set(by_id.loc[list(fold.development), "session"]) == {following}
        for column in ("session", "speaker"):
            train, development, test = (set(by_id.loc[list(p), column]) for p in parts(fold))
            assert not (train & development or train & test or development & test)


@given(tables, st.integers(3, 12), st.integers(0, 5))
def test_random_is_stratified(rows: list[tuple[int, int]], k: int, seed: int) -> None:
    table = make_table([session for session, _ in rows])
    classes = np.array([label for _, label in rows])
    if (classes >= 0).sum() < k:
        with pytest.raises(SplitError, match=f"split.folds is {k}, but there are only"):
            splits.folds(table, classes, random(k, seed))
        return
    folds = splits.folds(table, classes, random(k, seed))
    check(folds, set(table["utterance"][classes >= 0]))
    assert [fold.number for fold in folds] == list(range(1, k + 1))
    for fold, following in zip(folds, folds[1:] + folds[:1], strict=True):
        assert fold.development == following.test
    sizes = [len(fold.test) for fold in folds]
    assert max(sizes) - min(sizes) <= 1
    label = dict(zip(table["utterance"], classes, strict=True))
    for c in set(classes[classes >= 0].tolist()):
        counts = [sum(label[u] == c for u in fold.test) for fold in folds]
        assert max(counts) - min(counts) <= 1


@settings(max_examples=30)
@given(tables, st.randoms(use_true_random=False), st.sampled_from(["session", "random"]))
def test_order_of_rows_changes_nothing(rows, shuffler, protocol) -> None:
    table = make_table([session for session, _ in rows])
    classes = np.array([label for _, label in rows])
    assume(len(set(table["session"][classes >= 0])) >= 3)
    setting = SESSION if protocol == "session" else random(3)
    order = list(range(len(table)))
    shuffler.shuffle(order)
    shuffled = table.iloc[order]
    assert splits.folds(shuffled, classes[order], setting) == splits.folds(table, classes, setting)


def test_ten_folds_are_8_1_1_and_follow_the_seed() -> None:
    table = make_table([1 + i % 5 for i in range(200)])
    classes = np.arange(200) % 7
    folds = splits.folds(table, classes, random())
    assert [tuple(map(len, parts(fold))) for fold in folds] == [(160, 20, 20)] * 10
    assert folds == splits.folds(table, classes, random())
    assert folds != splits.folds(table, classes, random(seed=1))


def test_class_rarer_than_folds() -> None:
    table = make_table([1] * 40)
    classes = np.array([0] * 38 + [1] * 2)
    folds = splits.folds(table, classes, random())
    rare = set(table["utterance"][classes == 1])
    assert sorted(len(rare & set(fold.test)) for fold in folds) == [0] * 8 + [1] * 2


def test_speaker_in_two_sessions_is_refused() -> None:
    table = make_table([1, 2, 3, 4]).assign(speaker=["a", "b", "c", "a"])
    with pytest.raises(SplitError, match="speaker a is in more than one session"):
        splits.folds(table, [0, 0, 0, 0], SESSION)


def test_utterance_twice_is_refused() -> None:
    table = make_table([1, 2, 3]).assign(utterance="same")
    with pytest.raises(SplitError, match="utterance same is in the table twice"):
        splits.folds(table, [0, 0, 0], SESSION)


@pytest.mark.parametrize("setting", [SESSION, random(4)])
def test_assignments_come_back(tmp_path: Path, setting: params.Split) -> None:
    folds = splits.folds(make_table([1 + i % 5 for i in range(30)]), [0] * 30, setting)
    table = splits.assignments(folds)
    assert table.columns.tolist() == ["utterance", "fold", "part"]
    assert len(table) == len(folds) * 30
    table.assign(emotion="neu").to_csv(tmp_path / "folds.csv", index=False)
    assert splits.read(tmp_path / "folds.csv") == folds


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file; `dvc repro train`"),
        ("utterance,fold\na,1\n", "is no table of folds"),
        ("utterance,fold,part\na,1,exam\n", "part 'exam' is none of train, development, test"),
        ("utterance,fold,part\na,one,test\n", "is no table of folds"),
    ],
)
def test_assignments_that_cannot_be_read(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "folds.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SplitError, match=message):
        splits.read(path)
