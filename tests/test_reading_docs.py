"""What docs/reading.md shows runs, and what it says of MFCC and of BERT's input holds."""

from __future__ import annotations

import doctest
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks.synthetic import make_store, table, votes
from pipeline import params
from pipeline.corpus.iemocap.codes import DESCRIPTION
from pipeline.corpus.utterance import from_table
from pipeline.export import __main__ as export
from pipeline.features import extraction, words
from pipeline.features.extractor import Context
from pipeline.features.glove import Glove
from pipeline.store import writing

ROOT = Path(__file__).parents[1]
RATE = 16000
TEXTS = [
    "I don\u2019t know\u2026 [LAUGHTER]",
    "\u201cNo\u201d ++BREATHING++ it\u00b4s\u2014well --LAUGHTER-- you`re",
    "++LIP_SMACK++ twenty\u2010one \u2013 I said ''what''",
]


def make_release(folder: Path) -> None:
    """Recordings of three utterances, and the store of what the extractors make of them."""
    settings = params.load(ROOT / "params.yaml")
    root = folder / settings.corpus.root
    utterances = table().iloc[: len(TEXTS)].assign(text=TEXTS)
    utterances["audio"] = (
        "Session1/sentences/wav/Ses01F_impro01/" + utterances["utterance"] + ".wav"
    )
    random = np.random.default_rng(0)
    lengths = 8000 + 333 * np.arange(len(TEXTS))
    utterances["end"] = utterances["start"] + lengths / RATE
    for audio, length in zip(utterances["audio"], lengths, strict=True):
        (root / audio).parent.mkdir(parents=True, exist_ok=True)
        sound = np.sin(np.arange(length) / 9) * random.normal(0.3, 0.1, 1)
        sound[:2000] = 0  # more than 80 decibels below the rest
        soundfile.write(root / audio, sound, RATE, subtype="PCM_16")
    glove = folder / "glove.txt"
    glove.write_text("i 1 0\nknow 0 1\n", encoding="utf-8")
    output = folder / "data/features/embedded"
    streams = {
        "audio": settings.audio.streams,
        "text": settings.text.streams | {"glove": Glove(vectors=str(glove))},
    }
    for name, extractors in streams.items():
        extraction.extract(
            name,
            extractors,
            from_table(utterances),
            Context(root, "cpu", getattr(settings, name)),
            kept=folder / "kept" / name,
            output=output / name,
        )
    names = {name: list(extractors) for name, extractors in streams.items()}
    writing.write_table(
        output, utterances, votes(utterances), names, corpus="synthetic", description=DESCRIPTION
    )


def test_the_documented_calls_give_the_stored_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_release(tmp_path)
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs/reading.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```pycon\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 3
    example = doctest.DocTestParser().get_doctest("".join(blocks), {}, "docs/reading.md", None, 0)
    said: list[str] = []
    result = doctest.DocTestRunner().run(example, out=said.append, clear_globs=False)
    assert result.attempted > 15 and not result.failed, "".join(said)
    # more than the page says, here on one machine
    found, stored = example.globs["found"], example.globs["stored"]
    np.testing.assert_allclose(found, stored, rtol=0, atol=1e-4)
    assert len(stored) > 20 and example.globs["bert"].lengths.min() > 5


def test_the_documented_examples_run(tmp_path: Path) -> None:
    page = (ROOT / "docs/reading.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 3
    (tmp_path / "data/features").mkdir(parents=True)
    make_store(tmp_path).rename(tmp_path / "data/features/embedded")
    for block in blocks:
        (tmp_path / "example.py").write_text(block, encoding="utf-8")
        run = subprocess.run(
            [sys.executable, "example.py"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        assert run.stdout


def test_the_documented_exports_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs/reading.md").read_text(encoding="utf-8")
    [block] = re.findall(r"^```sh\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "data/features").mkdir(parents=True)
    make_store(tmp_path).rename(tmp_path / "data/features/iemocap")
    monkeypatch.chdir(tmp_path)
    for line in block.splitlines():
        python, option, module, *arguments = shlex.split(line)
        assert (python, option, module) == ("python", "-m", "pipeline.export")
        if arguments[0] != "means":
            arguments += ["--params", str(ROOT / "params.yaml")]
            arguments += ["--streams", "text=glove"]  # the synthetic store has no BERT
        assert export.main(arguments) == 0
        assert Path(arguments[2]).exists()


def test_the_documented_rule_names_every_character_that_is_replaced() -> None:
    replaced = {c for c in map(chr, range(0x3000)) if words.normalise(c, "word") not in (c, "")}
    assert len(replaced) > 15
    assert replaced - set((ROOT / "docs/reading.md").read_text(encoding="utf-8")) == set()
