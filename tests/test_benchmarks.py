"""The benchmarks' command: targets, merging, pages, failures; nothing is timed here."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks import __main__ as command
from benchmarks import extraction, memory, repro, results, synthetic
from benchmarks import store as store_benchmark
from benchmarks.results import BENCHMARKS, STAGES, FigureError, Target
from pipeline import InputError, params
from pipeline.features.mfcc import Mfcc
from pipeline.features.text_encoder import TextEncoder
from pipeline.store import FeatureStore
from pipeline.store.checking import verify

Rows = list[dict[str, str | float]]
ROOT = Path(__file__).parents[1]
MACHINE = {
    "cores": 2,
    "processor": "Made-up CPU",
    "device": "the CPU",
    "versions": {"Python": "3.11.0", "torch": "2.0"},
}


def made_up(name: str, *, good: bool) -> Rows:
    """Rows of a benchmark, all of whose figures are a little better or worse than their targets."""
    more, less = (1.01, 0.99) if good else (0.99, 1.01)
    rows: dict[str, Rows] = {
        "audio": [{"cores": 2, "times_plain": round(1.7 * more, 3)}],
        "visual": [{"frames": 100, "percent_of_bare": 90 * more}],
        "decoding": [{"frames": 100, "times_one": round(1.8 * more, 3)}],
        "text": [{"tokens": 1000, "times_one_by_one": 3 * more, "% padding": 10 * less}],
        "speech": [{"times_one_by_one": 2 * more, "% padding": 10 * less}],
        "store": [
            {"layout": "one group per utterance", "s from disk": 10, "s from cache": 4.0},
            {
                "layout": "float32",
                "% of padded": 55 * less,
                "s from disk": 5.0 if good else 5.1,
                "s from cache": 2.0 if good else 2.1,
            },
            {"layout": "float16", "% of padded": 28 * less},
        ],
        "training": [
            {
                "loop": "ours",
                "times plain": 2 * more,
                "% of bare": 70 * more,
                "% padding": 10 * less,
            },
            {"loop": "plain", "times plain": 1.0, "% of bare": 30, "% padding": 50},
        ],
        "repro": [{"stage": "all", "s": 100}, {"stage": "nothing to do", "s": 3 * less}],
        "memory": [
            {"stage": stage, "corpus": corpus, "times 1x": times}
            for stage in STAGES
            for corpus, times in (("1x", 1.0), ("4x", 1.0), ("16x", 1.1 * less))
        ],
        "full_release": [{"check_s": 20 * less, "parse_s": 20 * less}],
        "corpus": [
            {"run": "nothing to do", "s": 8 * less},
            {"run": "of that, the stage", "s": 5 * less},
        ],
    }
    return rows[name]


class Commands:
    """Stands for the benchmarks' commands: prints good rows, and fails where it is told to."""

    def __init__(self, *failing: str) -> None:
        self.failing = failing
        self.called: list[str] = []

    def __call__(self, name: str, options: Sequence[str]) -> str:
        self.called.append(name)
        if name in self.failing:
            raise subprocess.CalledProcessError(1, f"benchmarks.{name}")
        return f"{json.dumps(made_up(name, good=True))}\n\n| a table |\n"


def content(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_help_names_the_options_of_a_quick_run(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"benchmarks.{name}").main(["--help"])
    printed = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"python -m benchmarks.{name}" in printed
    for option in BENCHMARKS[name].quick:
        if option.startswith("--"):
            assert option.partition("=")[0] in printed


def test_help_of_all(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["--help"])
    assert ended.value.code == 0
    assert ", ".join(BENCHMARKS) in " ".join(capsys.readouterr().out.split())


def test_stages_are_those_of_the_pipeline() -> None:
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
    assert set(STAGES) == {"embedded", *pipeline["stages"]}


@pytest.mark.parametrize("name", BENCHMARKS)
@pytest.mark.parametrize("good", [True, False])
def test_targets_in_both_directions(name: str, good: bool) -> None:
    rows = [target.row(made_up(name, good=good)) for target in BENCHMARKS[name].targets]
    assert rows
    assert {row["met"] for row in rows} == {"yes" if good else "no"}


@pytest.mark.parametrize(("relation", "met"), [("≥", True), ("≤", True), ("<", False)])
def test_a_figure_that_is_the_target(relation: str, met: bool) -> None:
    target = Target("share", lambda rows: float(rows[0]["share"]), relation, 70, " %")
    row = target.row([{"share": 70.0}])
    assert row["met"] == ("yes" if met else "no")
    assert (row["target"], row["measured"]) == (f"{relation} 70 %", "70 %")


def test_rows_without_the_figure_of_a_target() -> None:
    with pytest.raises(FigureError, match="bare GRUs"):
        BENCHMARKS["training"].targets[1].row([{"loop": "ours", "times plain": 2.5}])
    with pytest.raises(FigureError, match="largest corpus"):
        BENCHMARKS["memory"].targets[0].row([])


def test_rows_are_read_from_what_is_printed() -> None:
    row = {"cores": 2, "times_plain": 1.5}
    assert results.parse(f"{json.dumps(row, indent=2)}\n\n| cores |\n") == [row]
    assert results.parse(f"{json.dumps([row, row])}\n\n| cores |\n") == [row, row]
    with pytest.raises(ValueError, match="Expecting value"):
        results.parse("| cores |\n")


def test_all_are_run_and_written(tmp_path: Path) -> None:
    commands = Commands()
    assert command.measure(list(BENCHMARKS), {}, tmp_path, MACHINE, run=commands) == []
    assert commands.called == list(BENCHMARKS)
    written = content(tmp_path)
    assert written["machine"] == MACHINE
    assert written["benchmarks"]["visual"]["rows"] == made_up("visual", good=True)
    page = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert "2 cores of Made-up CPU; models on the CPU; Python 3.11.0, torch 2.0." in page
    assert "| audio extraction / plain loop | ≥ 1.7 | 1.717 | yes |" in page
    assert page.count("| yes |") == sum(len(one.targets) for one in BENCHMARKS.values())
    for name, benchmark in BENCHMARKS.items():
        assert f"## {benchmark.title}\n\n`python -m benchmarks.{name}`\n" in page
    assert "| cores | times_plain |\n|---:|---:|\n| 2 | 1.717 |" in page
    assert "Not measured" not in page and "small sizes" not in page


def test_some_again_keep_the_others(tmp_path: Path) -> None:
    old: Rows = [{"cores": 2, "times_plain": 1.2}]
    kept = {name: {"options": [], "rows": old} for name in ("audio", "text")}
    command.measure(["text"], kept, tmp_path, MACHINE, quick=True, run=Commands())
    assert content(tmp_path)["benchmarks"] == {
        "audio": {"options": [], "rows": old},
        "text": {"options": list(BENCHMARKS["text"].quick), "rows": made_up("text", good=True)},
    }
    page = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert "| audio extraction / plain loop | ≥ 1.7 | 1.2 | no |" in page
    assert f"`python -m benchmarks.text {' '.join(BENCHMARKS['text'].quick)}`" in page
    others = "visual, decoding, speech, store, training, repro, memory, full_release, corpus"
    assert f"Not measured: {others}." in page
    assert "small sizes, so that the figures mean little: text." in page


def test_the_others_run_when_one_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = {"visual": {"options": [], "rows": made_up("visual", good=True)}}
    names = ["audio", "visual", "text"]
    failed = command.measure(names, kept, tmp_path, MACHINE, run=Commands("visual"))
    assert failed == ["visual"]
    assert list(content(tmp_path)["benchmarks"]) == ["audio", "text"]
    assert "Not measured: visual, decoding, speech, store" in (tmp_path / "results.md").read_text(
        encoding="utf-8"
    )
    printed = capsys.readouterr().err
    assert "[2/3] visual\nvisual: Command 'benchmarks.visual'" in printed


def test_the_command_names_what_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "run_command", Commands("audio", "store"))
    output = ["--output", str(tmp_path)]
    with pytest.raises(SystemExit) as ended:
        command.main(["--only", "store", "text", "audio", *output])
    assert ended.value.code == "failed: audio, store"  # Python prints it and ends with 1
    assert list(content(tmp_path)["benchmarks"]) == ["text"]
    command.main(["--only", "visual", *output])
    assert list(content(tmp_path)["benchmarks"]) == ["visual", "text"]


def test_figures_of_two_machines_are_not_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "run_command", Commands())
    command.measure(["audio"], {}, tmp_path, MACHINE, run=Commands())
    with pytest.raises(SystemExit) as ended:
        command.main(["--only", "text", "--output", str(tmp_path)])
    assert ended.value.code == 2
    assert "another machine" in capsys.readouterr().err
    assert content(tmp_path)["machine"] == MACHINE
    command.main(["--output", str(tmp_path)])
    assert content(tmp_path)["machine"] == command.machine()


def test_a_command_that_fails_is_told_from_one_that_does_not(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        command.run_command("text", [f"--corpus={tmp_path}"])
    assert "python -m benchmarks.text" in command.run_command("text", ["--help"])


# --- what the benchmarks of extractions and of the store stand on ---------------------------------


def test_a_benchmark_measures_the_stream_of_its_extractor_whatever_its_name() -> None:
    streams = {
        "words": TextEncoder(model="folder"),
        "sound": Mfcc(),
        "again": Mfcc(coefficients=13),
    }
    assert extraction.stream_of(streams, Mfcc) == ("sound", streams["sound"])
    del streams["words"]
    with pytest.raises(InputError, match=r"params\.yaml: no stream has the extractor TextEncoder"):
        extraction.stream_of(streams, TextEncoder)


@pytest.mark.parametrize("name", store_benchmark.LAYOUTS)
def test_a_layout_of_the_store_is_that_of_its_name(name: str, tmp_path: Path) -> None:
    store_benchmark.make_store(tmp_path, synthetic.table(1), *store_benchmark.LAYOUTS[name])
    assert verify(tmp_path) == []
    dtype, _, compression = name.partition(" ")
    with FeatureStore(tmp_path) as store:
        assert set(store.streams) == set(store_benchmark.STREAMS)
        for stream in store_benchmark.STREAMS:
            values = store.stream(stream).group["values"]
            assert values.dtype == ("int32" if stream == "glove" else dtype)
            assert values.compression == (compression or None)


# --- what the benchmarks of memory and of the whole pipeline stand on -----------------------------


def test_memory_and_repro_change_a_few_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = params.read_yaml(ROOT / "params.yaml")
    given["train"]["learning_rate"] = 5e-05  # a string in YAML 1.1
    (tmp_path / "params.yaml").write_text(params.as_yaml(given), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "memory").mkdir()
    memory._parameters(tmp_path / "memory", {"name": params.EMBEDDED, "root": "corpus"})
    changed = params.load(tmp_path / "memory/params.yaml")
    assert changed.corpus.root == "corpus"
    assert {stream.crop for stream in changed.visual.streams.values()} == {memory.CROP}
    assert Path(changed.text.streams["glove"].vectors).parent == memory.CORPUS
    assert changed.compute.workers == memory.WORKERS
    repro.shrink(tmp_path / "params.yaml")
    small = params.load(tmp_path / "params.yaml")
    assert small.train.epochs == 2
    assert small.train.learning_rate == changed.train.learning_rate == 5e-05


def test_memory_counts_what_a_process_and_its_children_hold(tmp_path: Path) -> None:
    block = "held = b'x' * 100_000_000; import sys, time; time.sleep({})"
    (tmp_path / "alone.py").write_text(block.format(0.5))
    (tmp_path / "parent.py").write_text(
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-m', 'alone'])\n"
        f"{block.format(0.5)}\n"
        "child.wait()\n"
    )
    for module, least, most in (("alone", 100e6, 200e6), ("parent", 200e6, 300e6)):
        peak, own = memory._watched([module], tmp_path, module)
        assert least < own < peak < most


def test_memory_of_a_task_that_fails(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        memory._watched(["no_such_module"], tmp_path, "nothing")


def test_a_stage_is_timed_and_its_status_kept(tmp_path: Path) -> None:
    log, wrapper = tmp_path / "seconds.txt", tmp_path / "python"
    repro.write_wrapper(wrapper, log)
    code = "import sys; print(sys.argv[1]); sys.exit(3)"
    done = subprocess.run(
        [wrapper, "-c", code, "two words"],
        env={**os.environ, "DVC_STAGE": "audio"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (3, "two words\n")
    assert repro.read_seconds(log).keys() == {"audio"}
    assert repro.read_seconds(log)["audio"] > 0


@pytest.mark.slow
def test_the_script_for_a_gpu_runs_in_small_on_any_machine() -> None:
    run = subprocess.run(
        ["bash", str(ROOT / "benchmarks/gpu.sh"), "--quick", "--device", "cpu"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    rows = json.loads(run.stdout[: run.stdout.rindex("]") + 1])
    named = {row["measured"]: row for row in rows}
    assert {row["device"] for row in rows} == {"no GPU"}
    for name in (
        "Torchvision, frames",
        "ImageEncoder, frames",
        "SpeechEncoder, utterances of 4.5 s",
    ):
        assert named[name]["per s"] > 0 and named[name]["bare per s"] > 0
    assert named["AMH-7, utterances of an epoch"]["per s"] > 0
    same = [row["result"] for row in rows if "same bytes" in row["measured"]]
    assert same == [True, True]
