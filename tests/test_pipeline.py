"""The real `dvc repro` on a small embedded corpus, as its reader would run it."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import shutil
import sys
from pathlib import Path

import h5py
import pytest
import soundfile
import yaml

from benchmarks import release
from pipeline.store import FeatureStore, checking
from tests.clone import Checkout, Clone, stages_run

FEATURES = ("audio", "text", "visual")
STAGES = ("make", "parse", "weights", *FEATURES, "store", "train", "evaluate")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which everything has been rebuilt and committed."""
    clone = Clone(tmp_path_factory.mktemp("first"))
    assert sorted(stages_run(clone.run("dvc", "repro"))) == sorted(STAGES)
    clone.run("git", "add", "-A")
    clone.run("git", "commit", "-qm", "results")
    return clone


def test_everything_is_written_and_nothing_left_to_do(clone: Clone) -> None:
    results = clone.folder / "results"
    metrics = json.loads((results / "metrics.json").read_text(encoding="utf-8"))
    assert {"weighted_accuracy", "unweighted_accuracy", "f1_macro"} <= set(metrics)
    with (results / "predictions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    right: dict[str, list[bool]] = {fold: [] for fold in {row["fold"] for row in rows}}
    for row in rows:
        right[row["fold"]].append(row["true"] == row["predicted"])
    mean = sum(sum(fold) / len(fold) for fold in right.values()) / len(right)
    assert metrics["weighted_accuracy"]["mean"] == pytest.approx(mean, abs=1e-6)
    assert len({row["utterance"] for row in rows}) == len(rows)
    missing = json.loads((results / "missing.json").read_text(encoding="utf-8"))
    assert list(missing) == ["without_audio", "without_text", "without_video"]
    assert all(set(figures) == set(metrics) for figures in missing.values())
    with h5py.File(results / "attention.h5") as looked:
        assert set(looked) == {"utterances", "hop-1", "hop-2"}
        assert len(looked["utterances/id"]) == len(rows)
    assert checking.verify(clone.folder / "data/features/embedded") == []
    assert "up to date" in clone.run("dvc", "repro")


def test_outputs_are_links_to_the_cache_which_no_stage_writes_through(clone: Clone) -> None:
    files = (
        *("data/features/embedded/audio/mfcc.h5", "data/features/embedded/store.h5"),
        "models/fold-1.safetensors",
    )
    for path in map(clone.folder.joinpath, files):
        assert path.stat().st_nlink > 1 and not path.stat().st_mode & 0o222
    for stage in STAGES[1:]:  # the corpus is never overwritten
        clone.run("python", "-m", f"stages.{stage}")
    # features are taken over, as what DVC has recorded; all else is new
    for path, links in zip(map(clone.folder.joinpath, files), (3, 1, 1), strict=True):
        assert path.stat().st_nlink == links
    cached = [path for path in (clone.folder / ".dvc/cache/files/md5").rglob("*") if path.is_file()]
    assert cached
    for path in cached:
        found = hashlib.md5(path.read_bytes()).hexdigest()
        assert path.parent.name + path.stem == found
    assert "up to date" in clone.run("dvc", "status", "dvc.yaml")


def counted(printed: str) -> dict[str, tuple[int, int]]:
    """What stages computed and kept: dialogs by stream, and models."""
    streams = re.findall(r"(\w+): computed (\d+), kept (\d+) dialogs", printed)
    models = re.findall(r"(computed) (\d+), kept (\d+) (?=models)", printed)
    found = streams + [("models", *counts) for _, *counts in models]
    return {name: (int(computed), int(kept)) for name, computed, kept in found}


def test_a_stream_more_costs_that_stream_and_its_return_nothing(clone: Clone) -> None:
    added = ("-S", "+audio.streams.short={extractor: mfcc, coefficients: 13}")
    printed = clone.run("dvc", "exp", "run", *added)
    assert stages_run(printed) == ["weights", "audio", "store", "train", "evaluate"]
    kept = {"mfcc": (0, 5), "prosody": (0, 5)}
    # no model reads it
    assert counted(printed) == {**kept, "short": (5, 0), "models": (0, 5)}
    with FeatureStore(clone.folder / "data/features/embedded") as opened:
        assert (opened.stream("mfcc").width, opened.stream("short").width) == (120, 39)
    clone.run("git", "checkout", "--", ".")
    assert not stages_run(clone.run("dvc", "repro"))
    assert not stages_run(clone.run("dvc", "exp", "run", *added))
    clone.run("git", "checkout", "--", ".")
    assert not stages_run(clone.run("dvc", "repro"))


def test_another_recording_costs_its_dialog_and_the_models_that_read_it(
    clone: Clone, tmp_path: Path
) -> None:
    copied = Checkout(shutil.copytree(clone.folder, tmp_path / "copy", symlinks=True))
    own = copied.folder / "data/raw/own"
    shutil.copytree(copied.folder / "data/raw/embedded/IEMOCAP_full_release", own)
    change = ("-S", "corpus.root=data/raw/own")
    assert stages_run(copied.run("dvc", "exp", "run", *change)) == ["parse"]
    with (copied.folder / "models/folds.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    chosen = next(row["utterance"] for row in rows if row["utterance"].startswith("Ses01"))
    wav = next(own.rglob(f"{chosen}.wav"))
    samples, rate = soundfile.read(wav)
    wav.unlink()  # DVC may have linked it
    soundfile.write(wav, samples / 2, rate, subtype="PCM_16")
    printed = copied.run("dvc", "exp", "run", *change)
    assert stages_run(printed) == ["parse", "audio", "store", "train", "evaluate"]
    trained = {row["fold"] for row in rows if row["utterance"] == chosen and row["part"] != "test"}
    assert counted(printed) == {
        **{"mfcc": (1, 4), "prosody": (1, 4)},
        "models": (len(trained), 5 - len(trained)),
    }


def test_a_parameter_of_a_stream_costs_that_stream(clone: Clone) -> None:
    printed = clone.run("dvc", "exp", "run", "-S", "audio.streams.mfcc.step=0.02")
    assert stages_run(printed) == ["weights", "audio", "store", "train", "evaluate"]
    assert counted(printed) == {"mfcc": (5, 0), "prosody": (0, 5), "models": (5, 0)}
    clone.run("git", "checkout", "--", ".")
    assert not stages_run(clone.run("dvc", "repro"))


def test_another_corpus_runs_nothing_of_the_embedded_one(clone: Clone) -> None:
    release.make(clone.folder / "data/raw/own")
    path = clone.folder / "params.yaml"
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    raw["corpus"]["root"] = "data/raw/own"
    del raw["embedded"]
    path.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    made = clone.folder / "embedded/espeak.py"
    made.write_text(made.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    printed = clone.run("dvc", "repro", "--dry")
    assert stages_run(printed)[0] == "parse" and "embedded/dvc.yaml" not in printed
    clone.run("git", "checkout", "--", ".")
    assert "up to date" in clone.run("dvc", "repro")


def test_the_report_is_self_contained_and_shows_what_was_looked_at(clone: Clone) -> None:
    page = (clone.folder / "results/report.html").read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", page)
    assert str(clone.folder) not in page
    assert '<h2 id="attention">' in page and page.count("<h3>") >= 5
    assert (clone.folder / "results/plots/confusion.png").stat().st_size > 1000


def test_experiments_recompute_what_they_touch(clone: Clone) -> None:
    printed = clone.run("dvc", "exp", "run", "-S", "model.hops=3", "-n", "three")
    assert stages_run(printed) == ["train", "evaluate"]
    table = clone.run("dvc", "exp", "show", "--csv", "--no-pager")
    rows = {row["Experiment"]: row for row in csv.DictReader(io.StringIO(table))}
    for name in ("", "three"):
        for metric in ("weighted_accuracy.mean", "unweighted_accuracy.mean"):
            assert 0 <= float(rows[name][metric]) <= 1
    # and back, from DVC's cache
    assert not stages_run(clone.run("dvc", "exp", "run", "-S", "model.hops=2"))
    printed = clone.run("dvc", "exp", "run", "-S", "visual.frames_per_second=2")
    assert stages_run(printed) == ["visual", "store", "train", "evaluate"]
    clone.run("git", "checkout", "--", ".")
    # the table's column place follows the parameter; sound and words do not depend on it
    printed = clone.run("dvc", "exp", "run", "-S", "corpus.iemocap.marked_actor=right")
    assert stages_run(printed) == ["parse", "visual", "store", "train", "evaluate"]
    clone.run("git", "checkout", "--", ".")
    assert not stages_run(clone.run("dvc", "repro"))


def test_the_comparison_runs_its_rows_and_shows_them_in_the_report(clone: Clone) -> None:
    path = clone.folder / "comparison/rows.yaml"
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    kept = ("linear-atv", "linear-egemaps", "mdre-at", "mha-tv", "amh-7")
    raw |= {"reference": "amh-7", "rows": {key: raw["rows"][key] for key in kept}}
    raw["rows"]["amh-7"]["train"] = {"seeds": [0, 1], "epochs": 1}
    path.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    printed = clone.run("dvc", "repro", "comparison/dvc.yaml")
    assert re.findall(r"Running stage '(\S+)'", printed) == [
        f"comparison/dvc.yaml:row@{key}" for key in raw["rows"]
    ]
    clone.run(sys.executable, "-m", "stages.table")
    with (clone.folder / "results/comparison.csv").open(encoding="utf-8") as file:
        rows = {row["key"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["linear-atv", "mdre-at", "mha-tv", "amh-7"]
    written = (clone.folder / "results/comparison.md").read_text(encoding="utf-8")
    assert "Left out:\n\n- linear-egemaps: no stream egemaps is extracted\n" in written
    assert float(rows["mdre-at"]["published_weighted_accuracy"]) == 0.498
    assert 0 <= float(rows["mha-tv"]["p_holm"]) <= 1 and rows["amh-7"]["p_holm"] == ""
    raw["rows"]["mha-tv"]["model"]["hops"] = 1
    path.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    changed = clone.run("dvc", "status", "comparison/dvc.yaml")
    assert re.findall(r"row@([\w-]+):", changed) == ["mha-tv"]
    assert stages_run(clone.run("dvc", "repro")) == ["evaluate"]
    page = (clone.folder / "results/report.html").read_text(encoding="utf-8")
    assert "MHA-2" in page and "make table" not in page
    clone.run("git", "checkout", "--", ".")


def test_colleagues_go_on_from_what_was_pushed(clone: Clone, tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    clone.run("dvc", "remote", "add", "--default", "folder", str(remote))
    clone.run("git", "commit", "-qam", "remote")
    clone.run("dvc", "push")
    start = ("dvc", "exp", "run", "--pull")
    from_train = ("--downstream", "-S", "model.hops=3")

    def colleague(name: str) -> Checkout:
        clone.run("git", "clone", "-q", str(clone.folder), str(tmp_path / name))
        return Checkout(tmp_path / name)

    # nothing before `train` is looked at, so its inputs are the only ones that travel
    first = colleague("downstream")
    assert stages_run(first.run(*start, *from_train, "train")) == ["train", "evaluate"]
    assert not list((first.folder / "data/raw").rglob("*.wav"))
    # all stages are looked at, and the corpus that one of them makes is fetched
    second = colleague("whole")
    printed = second.run(*start, "--allow-missing", "-S", "model.hops=3")
    assert stages_run(printed) == ["train", "evaluate"]
    figures = [one.folder / "results/metrics.json" for one in (first, second)]
    assert figures[0].read_bytes() == figures[1].read_bytes()
    # in the temporary folders of the queue there is nothing but what git knows and the remote has
    third = colleague("queue")
    third.run(*start, "--queue", *from_train, "-n", "queued", "train")
    third.run("dvc", "exp", "run", "--run-all")
    table = third.run("dvc", "exp", "show", "--csv", "--no-pager")
    rows = {row["Experiment"]: row for row in csv.DictReader(io.StringIO(table))}
    expected = json.loads(figures[0].read_text(encoding="utf-8"))["weighted_accuracy"]["mean"]
    # `show` rounds
    assert float(rows["queued"]["weighted_accuracy.mean"]) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("model.hops=0", "model.hops: Input should be greater than or equal to 1, got 0"),
        ("train.batch_size=abc", "train.batch_size: Input should be a valid integer, got 'abc'"),
        ("+model.hop=3", r"model.hop: no such key \(did you mean hops\?\); allowed are name"),
        ("model.hop=3", "Could not override 'model.hop'"),
    ],
)
def test_a_bad_parameter_stops_with_its_key(clone: Clone, change: str, message: str) -> None:
    printed = clone.run("dvc", "exp", "run", "-S", change, fails=True)
    assert re.search(message, printed)
    assert "Traceback" not in printed
    clone.run("git", "checkout", "--", ".")
