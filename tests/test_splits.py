"""Split protocols: nothing is on two sides, everything is tested once."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline import params
from pipeline.corpus.description import PARTS, Word
from pipeline.training import splits
from pipeline.training.splits import Fold, SplitError

SESSION = params.Split(protocol="session", list=None, folds=10, seed=0)
SPEAKER = params.Split(protocol="speaker", list=None, folds=10, seed=0)
LISTED = params.Split(protocol="file", list="mine", folds=10, seed=0)
WORD = Word("session", "sessions")
NOWHERE = Path("nowhere")  # no protocol but file reads lists


MIXED = [1 + i // 2 % 5 for i in range(30)]  # five sessions of two speakers each


def random(folds: int = 10, seed: int = 0) -> params.Split:
    return params.Split(protocol="random", list=None, folds=folds, seed=seed)


def make_table(sessions: list[int]) -> pd.DataFrame:
    """Return a row for each entry, in sessions by number, two speakers per session."""
    return pd.DataFrame(
        {
            "utterance": [f"Ses0{s}F_impro01_{'FM'[i % 2]}{i:03d}" for i, s in enumerate(sessions)],
            "group": [str(s) for s in sessions],
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
    sessions = sorted(map(int, set(labelled["group"])))
    if len(sessions) < 3:
        with pytest.raises(SplitError, match=r"needs labelled utterances of 3 sessions"):
            splits.folds(table, classes, SESSION, NOWHERE, WORD)
        return
    folds = splits.folds(table, classes, SESSION, NOWHERE, WORD)
    check(folds, set(labelled["utterance"]))
    assert [fold.number for fold in folds] == sessions
    by_id = labelled.set_index("utterance")
    for place, fold in enumerate(folds):
        assert set(by_id.loc[list(fold.test), "group"]) == {str(fold.number)}
        following = sessions[(place + 1) % len(sessions)]
        assert set(by_id.loc[list(fold.development), "group"]) == {str(following)}
        for column in ("group", "speaker"):
            train, development, test = (set(by_id.loc[list(p), column]) for p in parts(fold))
            assert not (train & development or train & test or development & test)


@given(tables)
def test_speaker_tests_one_and_develops_on_the_other(rows: list[tuple[int, int]]) -> None:
    table = make_table([session for session, _ in rows])
    classes = np.array([label for _, label in rows])
    labelled = table[classes >= 0]
    speakers = sorted(set(labelled["speaker"]))
    sessions = set(labelled["group"])
    if len(sessions) < 2 or len(speakers) != 2 * len(sessions):
        with pytest.raises(SplitError, match="split.protocol speaker needs"):
            splits.folds(table, classes, SPEAKER, NOWHERE, WORD)
        return
    folds = splits.folds(table, classes, SPEAKER, NOWHERE, WORD)
    check(folds, set(labelled["utterance"]))
    assert [fold.number for fold in folds] == list(range(1, len(speakers) + 1))
    by_id = labelled.set_index("utterance")
    for fold, speaker in zip(folds, speakers, strict=True):
        train, development, test = (set(by_id.loc[list(p), "speaker"]) for p in parts(fold))
        assert test == {speaker}
        assert development == {speaker[:-1] + {"F": "M", "M": "F"}[speaker[-1]]}
        assert train == set(speakers) - test - development
        sessions_of = [set(by_id.loc[list(p), "group"]) for p in parts(fold)]
        assert sessions_of[1] == sessions_of[2] and not sessions_of[0] & sessions_of[2]


def test_a_session_with_one_labelled_speaker_is_refused() -> None:
    table = make_table([1, 1, 2, 2, 3, 3])
    with pytest.raises(SplitError, match=r"labelled utterances in session 2: Ses02F; complete"):
        splits.folds(table, [0, 0, 0, -1, 0, 0], SPEAKER, NOWHERE, WORD)


def test_one_session_leaves_none_to_train_on() -> None:
    with pytest.raises(SplitError, match="needs labelled utterances of 2 sessions or more"):
        splits.folds(make_table([4, 4]), [0, 0], SPEAKER, NOWHERE, WORD)


@given(tables, st.integers(3, 12), st.integers(0, 5))
def test_random_is_stratified(rows: list[tuple[int, int]], k: int, seed: int) -> None:
    table = make_table([session for session, _ in rows])
    classes = np.array([label for _, label in rows])
    if (classes >= 0).sum() < k:
        with pytest.raises(SplitError, match=f"split.folds is {k}, but there are only"):
            splits.folds(table, classes, random(k, seed), NOWHERE, WORD)
        return
    folds = splits.folds(table, classes, random(k, seed), NOWHERE, WORD)
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
@given(tables, st.randoms(use_true_random=False), st.sampled_from([SESSION, SPEAKER, random(3)]))
def test_order_of_rows_changes_nothing(rows, shuffler, setting) -> None:
    table = make_table([session for session, _ in rows])
    classes = np.array([label for _, label in rows])
    labelled = table[classes >= 0]
    assume(labelled["group"].nunique() >= 3)
    if setting is SPEAKER:
        assume(labelled["speaker"].nunique() == 2 * labelled["group"].nunique())
    order = list(range(len(table)))
    shuffler.shuffle(order)
    shuffled = table.iloc[order]
    assert splits.folds(shuffled, classes[order], setting, NOWHERE, WORD) == splits.folds(
        table, classes, setting, NOWHERE
    )


def test_ten_folds_are_8_1_1_and_follow_the_seed() -> None:
    table = make_table([1 + i % 5 for i in range(200)])
    classes = np.arange(200) % 7
    folds = splits.folds(table, classes, random(), NOWHERE, WORD)
    assert [tuple(map(len, parts(fold))) for fold in folds] == [(160, 20, 20)] * 10
    assert folds == splits.folds(table, classes, random(), NOWHERE, WORD)
    assert folds != splits.folds(table, classes, random(seed=1), NOWHERE, WORD)


def test_class_rarer_than_folds() -> None:
    table = make_table([1] * 40)
    classes = np.array([0] * 38 + [1] * 2)
    folds = splits.folds(table, classes, random(), NOWHERE, WORD)
    rare = set(table["utterance"][classes == 1])
    assert sorted(len(rare & set(fold.test)) for fold in folds) == [0] * 8 + [1] * 2


def test_speaker_in_two_sessions_is_refused() -> None:
    table = make_table([1, 2, 3, 4]).assign(speaker=["a", "b", "c", "a"])
    with pytest.raises(SplitError, match="speaker a is in more than one session"):
        splits.folds(table, [0, 0, 0, 0], SESSION, NOWHERE, WORD)


def test_utterance_twice_is_refused() -> None:
    table = make_table([1, 2, 3]).assign(utterance="same")
    with pytest.raises(SplitError, match="utterance same is in the table twice"):
        splits.folds(table, [0, 0, 0], SESSION, NOWHERE, WORD)


@pytest.mark.parametrize("setting", [SESSION, SPEAKER, random(4)])
def test_assignments_come_back(tmp_path: Path, setting: params.Split) -> None:
    folds = splits.folds(make_table(MIXED), [0] * 30, setting, NOWHERE, WORD)
    table = splits.assignments(folds)
    assert table.columns.tolist() == ["utterance", "fold", "part"]
    assert len(table) == len(folds) * 30
    table.assign(emotion="neu").to_csv(tmp_path / "folds.csv", index=False)
    assert splits.read(tmp_path / "folds.csv") == folds


@pytest.mark.parametrize("setting", [SESSION, SPEAKER, random(4)])
def test_the_folds_of_a_run_as_a_list_give_them_again(
    tmp_path: Path, setting: params.Split
) -> None:
    table, classes = make_table(MIXED), [0] * 30
    folds = splits.folds(table, classes, setting, NOWHERE, WORD)
    shuffled = splits.assignments(folds).sample(frac=1, random_state=0)
    shuffled.to_csv(tmp_path / "mine.csv", index=False, encoding="utf-8-sig", lineterminator="\r\n")
    assert splits.folds(table, classes, LISTED, tmp_path) == folds


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 1)), min_size=12, max_size=40))
def test_a_list_divides_what_it_names(rows: list[tuple[int, int]]) -> None:
    """Two folds; a part for each utterance, or none; utterances without a class are dropped."""
    table = make_table([1 + i % 5 for i in range(len(rows))])
    classes = np.array([label for _, label in rows])
    listed = pd.DataFrame(
        [
            (name, fold, PARTS[(part + fold) % 3])
            for name, (part, _) in zip(table["utterance"][1:], rows[1:], strict=True)
            for fold in (1, 2)
        ],
        columns=["utterance", "fold", "part"],
    )
    given_class = set(table["utterance"][1:][classes[1:] >= 0])
    kept = listed[listed["utterance"].isin(given_class)]
    assume(all(set(kept["part"][kept["fold"] == fold]) == set(PARTS) for fold in (1, 2)))
    with TemporaryDirectory() as folder:
        listed.to_csv(Path(folder) / "mine.csv", index=False)
        folds = splits.folds(table, classes, LISTED, Path(folder))
    for fold in folds:
        train, development, test = parts(fold)
        assert not (train & development or train & test or development & test)
        assert train | development | test == given_class


GOOD = ["Ses01F_impro01_F000,1,train", "Ses02F_impro01_M001,1,development"]
TEST = "Ses03F_impro01_F002,1,test"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([*GOOD, TEST, "Ses09F_impro01_F000,1,train"], "fold 1 names utterance Ses09F_impro01_F0"),
        ([*GOOD, TEST, "Ses03F_impro01_F002,1,train"], "Ses03F_impro01_F002 is in fold 1 twice, "),
        ([*GOOD, TEST, TEST], "Ses03F_impro01_F002 is in fold 1 twice, in test and test"),
        (GOOD, "fold 1 has no labelled utterance in part test"),
        ([*GOOD, "Ses04F_impro01_M003,1,test"], "fold 1 has no labelled utterance in part test"),
        (
            [*GOOD, TEST, *(line.replace(",1,", ",2,") for line in (*GOOD, TEST))],
            "utterance Ses03F_impro01_F002 is tested in folds 1 and 2",
        ),
    ],
)
def test_a_list_that_does_not_fit_is_refused(
    tmp_path: Path, lines: list[str], message: str
) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(["utterance,fold,part", *lines]) + "\n", encoding="utf-8")
    with pytest.raises(SplitError, match=rf"^{re.escape(str(path))}: .*{message}"):
        splits.folds(make_table([1, 2, 3, 4]), [0, 0, 0, -1], LISTED, tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            None,
            "no such file; split.list is the name of a file.*that git knows: `git add` the list",
        ),
        ("", "not a table of folds"),
        ("utterance,fold,part\n", "contains no utterance"),
        ("utterance,fold\na,1\n", "not a table of folds"),
        ("utterance,fold,part\na,1,exam\n", "part 'exam' must be one of train, development, test"),
        ("utterance,fold,part\na,one,test\n", "not a table of folds"),
        ("utterance,fold,part\na,0,test\n", "fold 0 must be at least 1"),
    ],
)
def test_lists_that_cannot_be_read(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "folds.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SplitError, match=message):
        splits.read(path)


def test_groups_without_numbers_are_folds_in_their_order() -> None:
    table = make_table([1, 2, 3, 4]).assign(group=["08+03", "10+09", "11+13", "11+13"])
    setting = SESSION.model_copy(update={"protocol": "group"})
    folds = splits.folds(table, [0, 0, 0, 0], setting, NOWHERE)
    assert [(fold.number, len(fold.test)) for fold in folds] == [(1, 1), (2, 1), (3, 2)]
    with pytest.raises(SplitError, match="protocol group needs .* 3 groups or more.*: 08\\+03, 10"):
        splits.folds(table[:2], [0, 0], setting, NOWHERE)


# --- whole groups and speakers, dealt out, and official parts ------------------------------------

units = st.lists(st.tuples(st.integers(0, 12), st.integers(-1, 3)), min_size=1, max_size=150)


def dealt(protocol: str, folds: int, seed: int = 0) -> params.Split:
    return params.Split(protocol=protocol, list=None, folds=folds, seed=seed)


@given(
    units, st.sampled_from(["groups", "sessions", "speakers"]), st.integers(3, 6), st.integers(0)
)
def test_whole_groups_and_speakers_are_on_one_side(
    rows: list[tuple[int, int]], protocol: str, k: int, seed: int
) -> None:
    table = pd.DataFrame(
        {
            "utterance": [f"u{i:03d}" for i in range(len(rows))],
            "group": [f"g{unit // 2}" for unit, _ in rows],
            "speaker": [f"s{unit}" for unit, _ in rows],
        }
    )
    classes = np.array([label for _, label in rows])
    labelled = table[classes >= 0]
    column = "speaker" if protocol == "speakers" else "group"
    settings = dealt(protocol, k, seed % 1000)
    if labelled[column].nunique() < k:
        with pytest.raises(
            SplitError, match=f"split.folds is {k}, but there are labelled utterances of"
        ):
            splits.folds(table, classes, settings, NOWHERE, WORD)
        return
    folds = splits.folds(table, classes, settings, NOWHERE, WORD)
    check(folds, set(labelled["utterance"]))
    assert [fold.number for fold in folds] == list(range(1, k + 1))
    unit_of = table.set_index("utterance")
    for fold in folds:
        sides = [set(unit_of.loc[sorted(part), column]) for part in parts(fold)]
        assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
        if protocol != "speakers":  # and so no speaker
            sides = [set(unit_of.loc[sorted(part), "speaker"]) for part in parts(fold)]
            assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
    # no part is larger than the smallest by more than the largest unit
    sizes = [len(fold.test) for fold in folds]
    assert max(sizes) - min(sizes) <= labelled[column].value_counts().max()
    shuffled = table.sample(frac=1, random_state=0)
    again = splits.folds(shuffled, classes[shuffled.index], settings, NOWHERE, WORD)
    assert again == folds


def test_a_speaker_of_several_groups_cannot_be_dealt_out_by_group() -> None:
    table = make_table(MIXED).assign(speaker="Joey")
    with pytest.raises(SplitError, match="Joey is in more than one session, so testing whole sess"):
        splits.folds(table, np.zeros(30), dealt("sessions", 3), NOWHERE, WORD)


def test_official_parts_are_the_corpuss(tmp_path: Path) -> None:
    table = make_table(MIXED).assign(part=["train", "development", "test", "", "train"] * 6)
    classes = np.where(np.arange(30) == 0, -1, 0)
    (fold,) = splits.folds(table, classes, dealt("official", 3), NOWHERE, WORD)
    assert fold.number == 1
    for part in PARTS:
        expected = table["utterance"][(table["part"] == part) & (classes >= 0)]
        assert getattr(fold, part) == tuple(sorted(expected))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["", "", ""], "official needs an official split, which this corpus does not have"),
        (["train", "test", "test"], "the corpus has no labelled utterance in part development"),
    ],
)
def test_official_parts_that_are_not_there(given: list[str], message: str) -> None:
    table = make_table(MIXED).assign(part=given * 10)
    with pytest.raises(SplitError, match=message):
        splits.folds(table, np.zeros(30), dealt("official", 3), NOWHERE, WORD)


def test_folds_are_numbered_by_rank_unless_all_groups_are_numbers() -> None:
    table = make_table([1, 1, 2, 2, 3, 3])
    for names, expected in (("472", [2, 4, 7]), ("34x", [1, 2, 3]), ("023", [1, 2, 3])):
        renamed = table.assign(group=table["group"].map(dict(zip("123", names, strict=True))))
        folds = splits.folds(renamed, np.zeros(6), SESSION, NOWHERE, WORD)
        assert [fold.number for fold in folds] == expected
