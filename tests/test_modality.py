"""Streams of a modality together: groups of dialogs, problems, names, and what is reused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import pandas as pd
import pytest
import soundfile

from pipeline import InputError, params
from pipeline.corpus.utterance import Utterance
from pipeline.features.bert import Bert
from pipeline.features.extraction import extract
from pipeline.features.extractor import Context, Extractor, State, Steps
from pipeline.features.glove import Glove
from pipeline.features.mfcc import Mfcc
from pipeline.features.modality import Modality
from pipeline.features.prosody import NAMES, Prosody
from pipeline.weights import WeightsError, check, record
from tests.extractors import (
    DIALOG,
    LIMIT,
    RATE,
    SIZE,
    audio_context,
    noise,
    save_bert,
    text_context,
    vowel,
)


def extracted(
    folder: Path, modality: Modality, table: pd.DataFrame, workers: int = 1
) -> dict[str, Any]:
    """Write the interim file of a modality, and read the problems of its report."""
    extract(
        modality,
        table,
        parts=folder / "parts",
        output=folder / "out.h5",
        report=folder / "out.json",
        workers=workers,
    )
    report = json.loads((folder / "out.json").read_text())
    return {problem["utterance"][-3:]: problem["reason"] for problem in report["problems"]}


# --- sound ----------------------------------------------------------------------------------------


@pytest.fixture
def recordings(tmp_path: Path) -> pd.DataFrame:
    """A good recording, one that is missing, one that the corpus lacks, one of noise."""
    soundfile.write(tmp_path / "0.wav", vowel(0.5), RATE)
    soundfile.write(tmp_path / "3.wav", noise(4000), RATE)
    starts = np.array([0.5, 2.0, 3.5, 5.0])
    return pd.DataFrame(
        {
            "utterance": [f"{DIALOG}_F{number:03}" for number in range(4)],
            "dialog": DIALOG,
            "start": starts,
            "end": starts + np.array([0.5, 1.0, 1.0, 0.25]),
            "audio": ["0.wav", "1.wav", "", "3.wav"],
        }
    )


def sound(root: Path, table: pd.DataFrame, **streams: Extractor) -> Modality:
    return Modality("audio", streams, audio_context(root), table)


def test_the_file_of_sound(tmp_path: Path, recordings: pd.DataFrame) -> None:
    modality = sound(tmp_path, recordings, mfcc=Mfcc(), short=Mfcc(step=0.005), prosody=Prosody())
    problems = extracted(tmp_path / "made", modality, recordings)
    with h5py.File(tmp_path / "made/out.h5") as file:
        assert set(file) == {"mfcc", "prosody", "short", "utterances"}
        assert np.diff(file["mfcc/offsets"][:]).tolist() == [48, 0, 0, 23]
        assert np.diff(file["short/offsets"][:]).tolist() == [96, 0, 0, 46]
        assert file["mfcc/values"].shape == (71, 120)
        np.testing.assert_allclose(
            file["mfcc/times"][:],
            [*(0.5125 + np.arange(48) / 100), *(5.0125 + np.arange(23) / 100)],
        )
        values, names = file["prosody/values"][:], file["prosody/names"].asstr()[:].tolist()
    assert values.shape == (4, 35) and values.dtype == np.float32
    assert values.any(axis=1).tolist() == [True, False, False, True]
    assert np.isfinite(values).all()
    assert names == list(NAMES)
    assert problems == {
        "001": "1.wav: cannot be read from the disk: No such file or directory; left out",
        "002": "the corpus has no recording of it",
    }


def test_a_problem_of_several_streams_is_said_once(
    tmp_path: Path, recordings: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    modality = sound(tmp_path, recordings, mfcc=Mfcc(), short=Mfcc(step=0.005), prosody=Prosody())
    _, problems = modality.dialog(recordings)
    assert [problem.utterance[-3:] for problem in problems] == ["001", "002"]
    extracted(tmp_path / "made", modality, recordings)
    assert "2 of 4 utterances have problems" in capsys.readouterr().out


class Complaining(Prosody):
    """One that has its own problem with each utterance, and a value that is no number."""

    def extract(
        self, utterances: Sequence[Utterance], state: State, context: Context
    ) -> list[Steps]:
        values = np.array([np.inf, np.nan], np.float32)
        return [Steps(values, problem="too loud") for _ in utterances]


def test_an_utterance_with_two_problems_is_counted_once(
    tmp_path: Path, recordings: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    modality = sound(tmp_path, recordings, mfcc=Mfcc(), prosody=Complaining())
    _, problems = modality.dialog(recordings)
    assert [(problem.utterance[-3:], problem.reason[-8:]) for problem in problems] == [
        ("000", "too loud"),
        *(("001", "left out"), ("001", "too loud")),
        *(("002", "ng of it"), ("002", "too loud")),
        ("003", "too loud"),
    ]
    extracted(tmp_path / "made", modality, recordings)
    assert "4 of 4 utterances have problems" in capsys.readouterr().out


def test_what_is_not_there_is_zero_and_what_is_not_finite_stays_for_the_store_to_refuse(
    tmp_path: Path, recordings: pd.DataFrame
) -> None:
    arrays, _ = sound(tmp_path, recordings, prosody=Complaining()).dialog(recordings)
    assert arrays["prosody/values"].tolist() == [[np.inf, 0.0]] * 4


def test_a_recording_that_the_system_does_not_let_see_ends_no_run(
    tmp_path: Path, recordings: pd.DataFrame
) -> None:
    recordings["audio"] = ["0.wav", "a" * 300, "", "3.wav"]
    modality = sound(tmp_path, recordings, mfcc=Mfcc())
    problems = extracted(tmp_path / "made", modality, recordings)
    assert problems["001"].endswith("cannot be read from the disk: File name too long; left out")


def test_processes_give_the_same_bytes(tmp_path: Path, recordings: pd.DataFrame) -> None:
    again = recordings.assign(
        utterance=recordings["utterance"].str.replace("Ses01", "Ses02"), dialog="Ses02F_impro01"
    )
    table = pd.concat([recordings, again], ignore_index=True)
    for name, workers in (("one", 1), ("two", 2)):
        modality = sound(tmp_path, table, mfcc=Mfcc(), prosody=Prosody())
        extracted(tmp_path / name, modality, table, workers)
    assert (tmp_path / "one/out.h5").read_bytes() == (tmp_path / "two/out.h5").read_bytes()


def test_sources_are_each_recording_once(tmp_path: Path, recordings: pd.DataFrame) -> None:
    recordings["audio"] = ["3.wav", "0.wav", "", "3.wav"]
    modality = sound(tmp_path, recordings, mfcc=Mfcc(), prosody=Prosody())
    assert modality.sources(recordings) == [tmp_path / "0.wav", tmp_path / "3.wav"]


def test_identity_is_that_of_each_stream(tmp_path: Path, recordings: pd.DataFrame) -> None:
    identity = sound(tmp_path, recordings, mfcc=Mfcc(), prosody=Prosody()).identity()
    assert list(identity) == ["mfcc", "prosody"]
    assert identity["mfcc"]["identity"] == Mfcc().identity(audio_context(tmp_path))
    assert "librosa" in identity["mfcc"]["provenance"]["versions"]
    assert json.loads(json.dumps(identity)) == identity
    assert str(tmp_path) not in str(identity)
    other = sound(tmp_path, recordings, mfcc=Mfcc(step=0.02), prosody=Prosody()).identity()
    assert other["mfcc"] != identity["mfcc"] and other["prosody"] == identity["prosody"]


def test_a_modality_without_streams_writes_a_file_without_streams(
    tmp_path: Path, recordings: pd.DataFrame
) -> None:
    assert extracted(tmp_path / "made", sound(tmp_path, recordings), recordings) == {}
    with h5py.File(tmp_path / "made/out.h5") as file:
        assert set(file) == {"utterances"}


# --- text -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture
def glove(tmp_path: Path) -> Glove:
    path = tmp_path / "g.txt"
    path.write_text("i 1 0\nam 0 1\nsad 1 1\nlaughter 2 2\ndo 3 3\nn't 4 4\n. 5 5\n")
    return Glove(vectors=str(path))


@pytest.fixture
def transcripts() -> pd.DataFrame:
    texts = ["[LAUGHTER] I am sad.", "", "I don't", "[LAUGHTER]", "I am sad . " * 4]
    names = [f"{DIALOG}_F{number:03}" for number in range(len(texts))]
    return pd.DataFrame({"utterance": names, "dialog": DIALOG, "text": texts})


def test_the_file_of_text(
    tmp_path: Path, tiny: str, glove: Glove, transcripts: pd.DataFrame
) -> None:
    streams = {"glove": glove, "bert": Bert(model=tiny, batch_size=2)}
    modality = Modality("text", streams, text_context(), transcripts)
    problems = extracted(tmp_path, modality, transcripts)
    with h5py.File(tmp_path / "out.h5") as file:
        assert set(file) == {"bert", "glove", "utterances"}
        arrays = {f"{name}/{key}": file[name][key][()] for name in streams for key in file[name]}
    assert np.diff(arrays["glove/offsets"]).tolist() == [5, 0, 3, 1, 16]
    assert np.diff(arrays["bert/offsets"]).tolist() == [5, 0, 4, 1, LIMIT - 2]
    assert arrays["bert/values"].shape == (20, SIZE)
    assert arrays["bert/values"].dtype == np.float32
    assert arrays["bert/tokens"].dtype == arrays["glove/values"].dtype == np.int32
    sad = [b"i", b"am", b"sad", b"."]
    spelt = arrays["glove/vocabulary"][arrays["glove/values"]].tolist()
    assert spelt == [b"laughter", *sad, b"i", b"do", b"n't", b"laughter", *sad * 4]
    spelt = arrays["bert/vocabulary"][arrays["bert/tokens"]].tolist()
    assert spelt[:9] == [b"laughter", *sad, b"i", b"don", b"'", b"t"]
    assert arrays["glove/vectors"].shape == (9, 2)
    assert problems == {
        "001": "the corpus has no transcript of it",
        "004": "cut: BERT reads 10 of its 16 tokens",
    }
    assert not modality.sources(transcripts)


def test_a_corpus_without_any_words(
    tmp_path: Path, tiny: str, glove: Glove, transcripts: pd.DataFrame
) -> None:
    silent = transcripts.iloc[1:2]
    streams = {"glove": glove, "bert": Bert(model=tiny)}
    arrays, problems = Modality("text", streams, text_context(), silent).dialog(silent)
    assert arrays["bert/values"].shape == (0, SIZE)
    assert arrays["glove/lengths"].tolist() == [0]
    assert len(problems) == 1


def test_identity_knows_all_texts(tiny: str, transcripts: pd.DataFrame) -> None:
    def identity(table: pd.DataFrame) -> dict[str, Any]:
        return Modality("text", {"bert": Bert(model=tiny)}, text_context(), table).identity()

    assert identity(transcripts) == identity(transcripts.copy())
    # the same words, in other batches
    assert identity(transcripts.iloc[::-1]) != identity(transcripts)
    changed = transcripts.assign(text=["I am", *transcripts["text"].tolist()[1:]])
    assert identity(changed) != identity(transcripts)


# --- errors name the stream's parameter -----------------------------------------------------------


class Demanding(Mfcc):
    """One that cannot have what it needs."""

    wants: Literal["nothing", "a file", "texts"]

    def files(self) -> dict[str, str]:
        if self.wants == "a file":
            raise InputError("window: there is none")
        return {}

    def prepare(self, texts: Sequence[str], context: Context) -> State:
        if self.wants == "texts":
            raise InputError("window: there is none")
        return {}


FAULT = r"^audio\.streams\.mfcc\.window: there is none"


def test_an_extractor_that_cannot_be_prepared_is_named(
    tmp_path: Path, recordings: pd.DataFrame
) -> None:
    with pytest.raises(InputError, match=FAULT):
        sound(tmp_path, recordings, mfcc=Demanding(wants="texts"))


def test_files_that_cannot_be_had_are_named_when_recorded_and_when_checked(tmp_path: Path) -> None:
    streams = {"mfcc": Demanding(wants="a file")}
    with pytest.raises(WeightsError, match=FAULT):
        record({"audio": streams}, tmp_path)
    record({"audio": {"mfcc": Demanding(wants="nothing")}}, tmp_path)
    with pytest.raises(WeightsError, match=FAULT):
        check(tmp_path / "audio.json", streams)


def test_the_models_of_text_are_named(
    tmp_path: Path, tiny: str, glove: Glove, transcripts: pd.DataFrame
) -> None:
    for stream, extractor, fault in (
        ("words", Glove(vectors=str(tmp_path / "no.txt")), r"vectors: .*no\.txt cannot be read"),
        ("pieces", Bert(model=tiny, layers=[7]), r"layers: is 7"),
        ("pieces", Bert(model=str(tmp_path / "no")), r"model: there is no BERT at"),
    ):
        with pytest.raises(InputError, match=rf"^text\.streams\.{stream}\.{fault}"):
            Modality("text", {stream: extractor}, text_context(), transcripts)


def test_weights_that_fail_when_they_are_first_used_are_named(
    tmp_path: Path, tiny: str, transcripts: pd.DataFrame
) -> None:
    for path in Path(tiny).iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"cut")
    streams = {"pieces": Bert(model=str(tmp_path))}
    modality = Modality("text", streams, text_context(), transcripts)
    with pytest.raises(InputError, match=r"^text\.streams\.pieces\.model: the weights in .*again"):
        modality.dialog(transcripts)


def test_parameters_of_a_stream_are_named() -> None:
    raw = params.read_yaml(Path(__file__).parents[1] / "params.yaml")
    raw["audio"]["streams"]["mfcc"]["window"] = 0.001
    with pytest.raises(params.ParamsError, match=r"audio\.streams\.mfcc: step \(0\.01\) must not"):
        params.parse(raw)
    raw["audio"]["streams"]["mfcc"]["window"] = -1
    with pytest.raises(params.ParamsError, match=r"audio\.streams\.mfcc\.window: Input should"):
        params.parse(raw)
