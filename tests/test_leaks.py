"""No speaker or group is on two sides of a fold where a protocol promises it, for every corpus."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import release
from pipeline import params
from pipeline.corpus import labels, parsing
from pipeline.corpus.description import PARTS
from pipeline.corpus.parsing import Parsed
from pipeline.registry import CORPORA
from pipeline.training import splits
from tests import real, standins

MAKERS = {
    "iemocap": release.make,
    "emodb": standins.make_emodb,
    "meld": standins.make_meld,
    "crema_d": standins.make_crema_d,
    "listed": standins.make_phone,
}
PROMISES = {  # what is on one side
    "group": ("group", "speaker"),
    "groups": ("group", "speaker"),
    "speaker": ("speaker",),
    "speakers": ("speaker",),
    "official": (),
    "random": (),
}
REFUSED = {  # what a corpus cannot do, and why
    ("iemocap", "official"): "does not have",
    ("emodb", "official"): "does not have",
    ("crema_d", "official"): "does not have",
    ("listed", "official"): "does not have",
    ("crema_d", "speaker"): "needs two speakers per actor",
    ("listed", "speaker"): "needs two speakers",
    ("meld", "group"): "is in more than one part",
    ("meld", "groups"): "is in more than one part",
    ("meld", "speaker"): "is in more than one part",
}


def folds(parsed: Parsed, protocol: str) -> list[splits.Fold]:
    about = parsed.description
    scheme = labels.scheme(next(iter(about.schemes)), about)
    settings = params.Split(protocol=protocol, list=None, folds=3, seed=0)
    table = parsed.utterances
    return splits.folds(table, scheme.of(table), settings, Path("nowhere"), about.group)


def check(parsed: Parsed, protocol: str) -> None:
    table = parsed.utterances.set_index("utterance")
    found = folds(parsed, protocol)
    assert found
    for fold in found:
        named = [name for part in PARTS for name in getattr(fold, part)]
        assert len(named) == len(set(named)) and all(getattr(fold, part) for part in PARTS)
        for column in PROMISES[protocol]:
            on = [set(table[column][list(getattr(fold, part))]) for part in PARTS]
            assert not (on[0] & on[1] or on[0] & on[2] or on[1] & on[2])


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Parsed]:
    found = {}
    for format in CORPORA:
        root = MAKERS[format](tmp_path_factory.mktemp(format) / "copy")
        found[format] = parsing.parse(CORPORA[format].load()(), root)
    return found


@pytest.mark.parametrize("protocol", PROMISES)
@pytest.mark.parametrize("format", CORPORA)
def test_a_stand_in_keeps_the_promise(
    corpora: dict[str, Parsed], format: str, protocol: str
) -> None:
    refused = REFUSED.get((format, protocol))
    if refused:
        with pytest.raises(splits.SplitError, match=refused):
            folds(corpora[format], protocol)
    else:
        check(corpora[format], protocol)


@pytest.mark.parametrize("protocol", ["group", "groups", "speaker", "speakers"])
def test_the_real_recordings_keep_it(protocol: str) -> None:
    check(parsing.parse(CORPORA["emodb"].load()(), real.real("emodb")), protocol)


def test_the_real_official_split_is_the_lists() -> None:
    parsed = parsing.parse(CORPORA["meld"].load()(), real.real("meld"))
    (fold,) = folds(parsed, "official")
    assert [len(getattr(fold, part)) for part in PARTS] == [9989, 1109, 2610]
