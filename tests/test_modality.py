"""Real extractors through extraction: the files of sound and text, problems, errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import pytest
import soundfile

from pipeline import InputError, params
from pipeline.corpus.utterance import Source, Utterance
from pipeline.features.extraction import extract
from pipeline.features.extractor import Context, Extractor, State
from pipeline.features.glove import Glove
from pipeline.features.mfcc import Mfcc
from pipeline.features.pretrained import WeightsError, check, record
from pipeline.features.prosody import NAMES, Prosody
from pipeline.features.text_encoder import TextEncoder
from pipeline.store import Stream
from tests.extractors import (
    DIALOG,
    LIMIT,
    RATE,
    SIZE,
    audio_context,
    noise,
    save_bert,
    spoken,
    text_context,
    vowel,
)


def extracted(
    folder: Path,
    modality: str,
    utterances: Sequence[Utterance],
    context: Context,
    streams: Mapping[str, Extractor],
    *,
    workers: int = 1,
) -> dict[str, dict[str, Any]]:
    """The datasets of each stream's file, and the problems by the end of the utterance's id."""
    extract(
        modality,
        streams,
        utterances,
        context,
        kept=folder / "kept",
        output=folder / "out",
        workers=workers,
    )
    found = {}
    for name in streams:
        with h5py.File(folder / "out" / f"{name}.h5") as file:
            found[name] = {key: file[key][()] for key in file}
            problems = Stream(name, file).problems
            found[name]["said"] = {key[-3:]: text for key, (text,) in problems.items()}
    return found


# --- sound ----------------------------------------------------------------------------------------


@pytest.fixture
def recordings(tmp_path: Path) -> list[Utterance]:
    """A good recording, one that is missing, one that the corpus lacks, one of noise."""
    soundfile.write(tmp_path / "0.wav", vowel(0.5), RATE)
    soundfile.write(tmp_path / "3.wav", noise(4000), RATE)
    given = [(0.5, 0.5, "0.wav"), (2.0, 1.0, "1.wav"), (3.5, 1.0, ""), (5.0, 0.25, "3.wav")]
    return [
        Utterance(
            f"{DIALOG}_F{number:03}",
            DIALOG,
            start,
            start + length,
            audio=Source(name) if name else None,
        )
        for number, (start, length, name) in enumerate(given)
    ]


def test_the_files_of_sound(
    tmp_path: Path, recordings: list[Utterance], capsys: pytest.CaptureFixture[str]
) -> None:
    streams = {"mfcc": Mfcc(), "short": Mfcc(step=0.005), "prosody": Prosody()}
    found = extracted(tmp_path, "audio", recordings, audio_context(tmp_path), streams)
    assert np.diff(found["mfcc"]["offsets"]).tolist() == [48, 0, 0, 23]
    assert np.diff(found["short"]["offsets"]).tolist() == [96, 0, 0, 46]
    assert found["mfcc"]["values"].shape == (71, 120)
    np.testing.assert_allclose(
        found["mfcc"]["times"],
        [*(0.0125 + np.arange(48) / 100), *(0.0125 + np.arange(23) / 100)],
    )
    values = found["prosody"]["values"]
    assert values.shape == (4, 35) and values.dtype == np.float32
    assert np.isnan(values).all(axis=1).tolist() == [False, True, True, False]
    assert np.isfinite(values[[0, 3]]).all()
    assert [name.decode() for name in found["prosody"]["names"]] == list(NAMES)
    for stream in found.values():
        assert stream["said"] == {
            "001": "1.wav: cannot be read from the disk: No such file or directory; left out",
            "002": "there is no recording of it",
        }
    assert "short: 2 of 4 utterances have problems; `python -m pipeline.store problems" in (
        capsys.readouterr().out
    )


def test_a_recording_that_the_system_does_not_let_see_ends_no_run(
    tmp_path: Path, recordings: list[Utterance]
) -> None:
    recordings[1] = replace(recordings[1], audio=Source("a" * 300))
    found = extracted(tmp_path, "audio", recordings, audio_context(tmp_path), {"mfcc": Mfcc()})
    said = found["mfcc"]["said"]["001"]
    assert said.endswith("cannot be read from the disk: File name too long; left out")


@pytest.mark.slow
def test_processes_give_the_same_bytes(tmp_path: Path, recordings: list[Utterance]) -> None:
    again = [
        replace(one, id=one.id.replace("Ses01", "Ses02"), dialog="Ses02F_impro01")
        for one in recordings
    ]
    for name, workers in (("one", 1), ("two", 2)):
        extracted(
            tmp_path / name,
            "audio",
            [*recordings, *again],
            audio_context(tmp_path),
            {"mfcc": Mfcc(), "prosody": Prosody()},
            workers=workers,
        )
    for name in ("mfcc.h5", "prosody.h5"):
        one, two = (tmp_path / number / "out" / name for number in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


def test_no_path_of_this_machine_is_written(tmp_path: Path, recordings: list[Utterance]) -> None:
    streams = {"mfcc": Mfcc(), "prosody": Prosody()}
    extracted(tmp_path, "audio", recordings, audio_context(tmp_path), streams)
    for name in streams:
        assert str(tmp_path).encode() not in (tmp_path / f"out/{name}.h5").read_bytes()


def test_a_modality_without_streams_is_an_empty_folder(
    tmp_path: Path, recordings: list[Utterance]
) -> None:
    assert extracted(tmp_path, "audio", recordings, audio_context(tmp_path), {}) == {}
    assert list((tmp_path / "out").iterdir()) == []


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
def transcripts() -> list[Utterance]:
    return spoken("[LAUGHTER] I am sad.", "", "I don't", "[LAUGHTER]", "I am sad . " * 4)


def test_the_files_of_text(
    tmp_path: Path, tiny: str, glove: Glove, transcripts: list[Utterance]
) -> None:
    streams = {"glove": glove, "bert": TextEncoder(model=tiny, batch_size=2)}
    found = extracted(tmp_path, "text", transcripts, text_context(), streams)
    words, pieces = found["glove"], found["bert"]
    assert np.diff(words["offsets"]).tolist() == [5, 0, 3, 1, 16]
    assert np.diff(pieces["offsets"]).tolist() == [5, 0, 4, 1, LIMIT - 2]
    assert pieces["values"].shape == (20, SIZE)
    assert pieces["values"].dtype == np.float32
    assert pieces["tokens"].dtype == words["values"].dtype == np.int32
    sad = [b"i", b"am", b"sad", b"."]
    spelt = words["vocabulary"][words["values"]].tolist()
    assert spelt == [b"laughter", *sad, b"i", b"do", b"n't", b"laughter", *sad * 4]
    spelt = pieces["vocabulary"][pieces["tokens"]].tolist()
    assert spelt[:9] == [b"laughter", *sad, b"i", b"don", b"'", b"t"]
    assert words["vectors"].shape == (9, 2)
    assert words["said"] == {"001": "there is no transcript of it"}
    assert pieces["said"] == words["said"] | {"004": "cut: the model reads 10 of its 16 tokens"}


def test_a_corpus_without_any_words(tmp_path: Path, tiny: str, glove: Glove) -> None:
    streams = {"glove": glove, "bert": TextEncoder(model=tiny)}
    found = extracted(tmp_path, "text", spoken(""), text_context(), streams)
    assert found["bert"]["values"].shape == (0, SIZE)
    assert found["glove"]["offsets"].tolist() == [0, 0]


class Grouped(TextEncoder):
    """BERT in groups of eight utterances or more."""

    @property
    def group(self) -> int:
        return 8


def test_texts_that_are_read_in_groups_come_back_each_its_own(tmp_path: Path, tiny: str) -> None:
    """Seven dialogs of three utterances of unlike length; three dialogs are a group."""
    texts = ["I am sad", "do", "laughter", "", "I do not know. I am running", "I don't", "am I"] * 3
    utterances = [
        replace(one, dialog=f"Ses01F_impro{number // 3:02}", id=f"{number:02}")
        for number, one in enumerate(spoken(*texts))
    ]
    streams = {"bert": Grouped(model=tiny, batch_size=2)}
    found = extracted(tmp_path, "text", utterances, text_context(), streams)["bert"]
    for number, utterance in enumerate(utterances):
        (alone,) = TextEncoder(model=tiny).extract([utterance], {}, text_context())
        start, end = found["offsets"][number : number + 2]
        assert end - start == len(alone.values)
        np.testing.assert_allclose(found["values"][start:end], alone.values, atol=1e-5)


# --- errors name the stream's parameter -----------------------------------------------------------


class Demanding(Mfcc):
    """One that cannot have what it needs."""

    wants: Literal["nothing", "a file", "texts"]

    def files(self) -> dict[str, str]:
        if self.wants == "a file":
            raise InputError("window: there is none")
        return {}

    def prepare(self, utterances: Sequence[Utterance], context: Context) -> State:
        if self.wants == "texts":
            raise InputError("window: there is none")
        return {}


FAULT = r"^audio\.streams\.mfcc\.window: there is none"


def test_an_extractor_that_cannot_be_prepared_is_named(
    tmp_path: Path, recordings: list[Utterance]
) -> None:
    streams = {"mfcc": Demanding(wants="texts")}
    with pytest.raises(InputError, match=FAULT):
        extracted(tmp_path, "audio", recordings, audio_context(tmp_path), streams)


def test_files_that_cannot_be_had_are_named_when_recorded_and_when_checked(tmp_path: Path) -> None:
    streams = {"mfcc": Demanding(wants="a file")}
    with pytest.raises(WeightsError, match=FAULT):
        record({"audio": streams}, tmp_path)
    record({"audio": {"mfcc": Demanding(wants="nothing")}}, tmp_path)
    with pytest.raises(WeightsError, match=FAULT):
        check(tmp_path / "audio.json", streams)


def test_the_models_of_text_are_named(
    tmp_path: Path, tiny: str, transcripts: list[Utterance]
) -> None:
    for stream, extractor, fault in (
        ("words", Glove(vectors=str(tmp_path / "no.txt")), r"vectors: .*no\.txt cannot be read"),
        ("pieces", TextEncoder(model=tiny, layers=[7]), r"layers: is 7"),
        (
            "pieces",
            TextEncoder(model=str(tmp_path / "no")),
            r"model: there is no complete",
        ),
    ):
        with pytest.raises(InputError, match=rf"^text\.streams\.{stream}\.{fault}"):
            extracted(tmp_path, "text", transcripts, text_context(), {stream: extractor})


def test_weights_that_fail_when_they_are_first_used_are_named(
    tmp_path: Path, tiny: str, transcripts: list[Utterance]
) -> None:
    for path in Path(tiny).iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"cut")
    streams = {"pieces": TextEncoder(model=str(tmp_path))}
    with pytest.raises(InputError, match=r"^text\.streams\.pieces\.model: the weights in .*again"):
        extracted(tmp_path, "text", transcripts, text_context(), streams)


def test_parameters_of_a_stream_are_named() -> None:
    raw = params.read_yaml(Path(__file__).parents[1] / "params.yaml")
    raw["audio"]["streams"]["mfcc"]["window"] = 0.001
    with pytest.raises(params.ParamsError, match=r"audio\.streams\.mfcc: step \(0\.01\) must not"):
        params.parse(raw)
    raw["audio"]["streams"]["mfcc"]["window"] = -1
    with pytest.raises(params.ParamsError, match=r"audio\.streams\.mfcc\.window: Input should"):
        params.parse(raw)
