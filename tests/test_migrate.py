"""Parameter files of the first version become files that name streams."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import params
from pipeline.params.__main__ import main
from pipeline.params.migration import migrate

ROOT = Path(__file__).parents[1]

OLD = """\
# my own setting
corpus:
  name: embedded
  root: data/raw/embedded/IEMOCAP_full_release
  embedded: {dialogs_per_session: 4, seed: 0}

audio:
  sampling_rate: 8000           # of the telephone
  mfcc: 13
  window: 0.032
  step: 0.016

text:
  glove: /data/glove.txt
  bert: bert-base-uncased
  bert_layer: -2
  marks: drop
  batch_size: 8

visual:
  network: resnet34
  weights: random
  frames_per_second: 2.0
  max_frames: 16
  crop: 112
  marked_actor: right
  batch_size: 4

store:
  include_text: false
  dtype: float16
  compression: lzf
  chunk: 64
  external: [wav2vec]

"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A whole file of the first version: its own groups, and those that have not changed."""
    present = (ROOT / "params.yaml").read_text(encoding="utf-8")
    path = tmp_path / "old.yaml"
    path.write_text(OLD + present[present.index("labels:\n") :], encoding="utf-8")
    return path


def test_every_value_finds_its_place(old: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.yaml"
    assert main(["migrate", str(old), "--output", str(new)]) == 0
    settings = params.load(new)
    stored = {"dtype": "float16", "compression": "lzf"}
    assert settings.audio.sampling_rate == 8000
    assert {name: s.model_dump() for name, s in settings.audio.streams.items()} == {
        "mfcc": {"extractor": "mfcc", "coefficients": 13, "window": 0.032, "step": 0.016, **stored},
        "prosody": {"extractor": "prosody", "dtype": "float32", "compression": "none"},
        "wav2vec": {
            **{"extractor": "external", "path": "data/external/wav2vec.h5"},
            **{"dtype": "float32", "compression": "none"},
        },
    }
    assert (settings.text.marks, settings.text.include_text) == ("drop", False)
    assert settings.text.streams["glove"].vectors == "/data/glove.txt"
    assert settings.text.streams["bert"].model_dump() == {
        "extractor": "transformers",
        **{"model": "bert-base-uncased", "layers": [-2], "batch_size": 8, **stored},
        **{"revision": None, "pickled_weights": False, "precision": "float32"},
        "special_tokens": False,
    }
    assert (settings.visual.frames_per_second, settings.visual.max_frames) == (2.0, 16)
    assert settings.visual.streams["resnet"].model_dump() == {
        **{"extractor": "torchvision", "network": "resnet34", "weights": "random"},
        **{"region": "speaker", "crop": 112, "detector": "dlib", "batch_size": 4},
        "precision": "float32",
        **stored,
    }
    assert settings.corpus.reader.marked_actor == "right"
    assert (settings.corpus.format, settings.labels.scenarios) == ("iemocap", "all")
    assert (settings.embedded.dialogs_per_session, settings.embedded.traps) == (4, False)
    text = new.read_text(encoding="utf-8")
    assert text.startswith("# my own setting\n") and "# of the telephone" in text
    assert "\n\nvisual:\n" in text and "list: null " in text


def test_the_groups_that_have_not_changed_stay_as_they_are(old: Path) -> None:
    before, after = params.read_yaml(old), migrate(old)
    old.write_text(after, encoding="utf-8")
    assert params.read_yaml(old)["labels"] == {**before["labels"], "scenarios": "all"}
    for group in ("split", "model", "train", "report", "compute"):
        assert params.read_yaml(old)[group] == before[group]


def test_the_second_version_is_known_by_its_embedded_corpus(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    start, end = text.index("embedded:  "), text.index("# Streams get their names here")
    moved = "".join(f"  {line}\n" for line in text[start:end].splitlines() if line)
    second = text[:start].rstrip() + "\n" + moved + "\n" + text[end:]
    for line in ("  format: ", "    traps: ", "  scenarios: "):
        second = "".join(row for row in second.splitlines(keepends=True) if line not in row)
    path = tmp_path / "second.yaml"
    path.write_text(second, encoding="utf-8")
    with pytest.raises(
        params.ParamsError, match=r"corpus.embedded: is now the group embedded; `python -m"
    ):
        params.load(path)
    migrated = migrate(path)
    assert "# Streams get their names here" in migrated and "\n\nembedded:" in migrated
    path.write_text(migrated, encoding="utf-8")
    assert params.load(path) == params.load(ROOT / "params.yaml")


def test_what_cannot_be_migrated_is_named(
    old: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["migrate", str(ROOT / "params.yaml")]) == 1
    assert "is in the present form" in capsys.readouterr().err
    old.write_text(old.read_text("utf-8").replace("  bert_layer: -2\n", ""), encoding="utf-8")
    assert main(["migrate", str(old)]) == 1
    assert "it has no text.bert_layer" in capsys.readouterr().err
    assert main(["migrate", str(tmp_path / "absent.yaml")]) == 1
    assert "absent.yaml: cannot be read" in capsys.readouterr().err
