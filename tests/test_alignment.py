"""Word alignments: the aligner's format, damaged files, and the table of a copy's words."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from benchmarks import release
from embedded import textfiles
from pipeline.corpus.iemocap import alignment
from pipeline.corpus.iemocap.alignment import AlignmentError, Word

IMPRO = "Ses01F_impro01"
ALIGNED = """\
\t SFrm\t EFrm\t    SegAScr\tWord
\t    0\t   12\t     -32011\t<s>
\t   13\t   41\t    -120433\tEXCUSE
\t   42\t   60\t     -99410\tME(2)
\t   61\t   70\t      12000\t++LAUGHTER++
\t   71\t   75\t     -40311\t</s>
 Total score:     -280165
"""


def wdseg(root: Path, utterance: str) -> Path:
    path = release.wav_file(root, utterance).with_suffix(".wdseg")
    return Path(str(path).replace("sentences/wav", alignment.FOLDER))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make a copy of two dialogs whose first utterance is aligned."""
    root = release.make(tmp_path / "IEMOCAP_full_release", sessions=[1])
    path = wdseg(root, f"{IMPRO}_F000")
    path.parent.mkdir(parents=True)
    path.write_text(ALIGNED)
    return root


def test_read(tmp_path: Path) -> None:
    path = tmp_path / "a.wdseg"
    for content in (ALIGNED, ALIGNED.replace("\n", "\r\n"), ALIGNED.replace("\t", "  ")):
        path.write_text(content, newline="")
        assert alignment.read(path) == [
            Word("<s>", 0.0, 0.13),
            Word("EXCUSE", 0.13, 0.42),
            Word("ME", 0.42, 0.61),
            Word("++LAUGHTER++", 0.61, 0.71),
            Word("</s>", 0.71, 0.76),
        ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (ALIGNED, "", ":1: does not begin with the header SFrm EFrm SegAScr Word"),
        ("SegAScr", "Score", ":1: does not begin with the header"),
        (" Total score:     -280165\n", "", ":6: does not end with the line 'Total score:'"),
        ("   13\t   41", "   13\t   1e", r":3: malformed line '13\\t   1e"),
        ("\tEXCUSE", "", ":3: malformed line"),
        ("   13\t   41", "   13\t   11", ":3: the word ends at frame 11, before 13"),
    ],
)
def test_damaged_files(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "a.wdseg"
    path.write_text(ALIGNED.replace(old, new))
    with pytest.raises(AlignmentError) as error:
        alignment.read(path)
    assert str(error.value).startswith(f"{path}{message}".replace(r"\\t", r"\t"))


spoken = st.text("ABCXYZ'-", min_size=1) | st.sampled_from(["<s>", "<sil>", "++BREATHING++", "(2)"])
spans = st.tuples(spoken, st.integers(0, 10_000), st.integers(0, 300), st.integers(0, 3))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(spans, max_size=8))
def test_any_alignment_comes_back(tmp_path: Path, rows: list[tuple[str, int, int, int]]) -> None:
    lines = [
        f"\t{first:5d}\t{first + extra:5d}\t{-extra:11d}\t{text}{f'({n})' if n else ''}"
        for text, first, extra, n in rows
    ]
    path = tmp_path / "a.wdseg"
    path.write_text("\n".join([ALIGNED.splitlines()[0], *lines, " Total score: 0", ""]))
    assert alignment.read(path) == [
        Word(text, first / 100, (first + extra + 1) / 100) for text, first, extra, _ in rows
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
@example(ALIGNED.encode()[:40])
def test_garbage_is_read_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.wdseg"
    path.write_bytes(content)
    with pytest.raises(AlignmentError):
        alignment.read(path)


def test_alignments_of_the_embedded_corpus(tmp_path: Path) -> None:
    path = tmp_path / "a.wdseg"
    path.write_bytes(textfiles.alignment([("Excuse", 0.1, 0.5), ("me.", 0.5, 0.75)]))
    assert alignment.read(path) == [Word("EXCUSE", 0.1, 0.5), Word("ME", 0.5, 0.75)]


# --- the table of a copy -------------------------------------------------------------------------


def test_words_in_seconds_of_the_dialog(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "words.csv"
    assert release.command(["words", str(root), str(output)]) == 0
    table = pd.read_csv(output)
    assert list(table.columns) == ["utterance", "word", "start", "end"]
    assert table.to_numpy().tolist()[1] == [f"{IMPRO}_F000", "EXCUSE", 1.38, 1.67]
    printed = capsys.readouterr().out
    assert "5 words of 1 utterances" in printed
    assert ["word", "alignment", "missing", "7", "kept"] in map(str.split, printed.splitlines())
    before = output.read_bytes()
    release.command(["words", str(root), str(output)])
    assert output.read_bytes() == before


def test_damaged_and_unlabelled_alignments_are_reported(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wdseg(root, f"{IMPRO}_M000").write_text(ALIGNED.replace("   13", "   xx"))
    wdseg(root, f"{IMPRO}_F001").mkdir()
    wdseg(root, f"{IMPRO}_MXX0").write_text(ALIGNED)
    (wdseg(root, f"{IMPRO}_F000").parent / f"._{IMPRO}_F000.wdseg").write_bytes(b"\0")
    assert release.command(["words", str(root), str(tmp_path / "words.csv"), "--items"]) == 0
    lines = capsys.readouterr().out.splitlines()
    folder = f"Session1/{alignment.FOLDER}/{IMPRO}"
    assert f"{folder}/{IMPRO}_MXX0.wdseg: word alignment without a label" in lines
    assert f"{folder}/{IMPRO}_F001.wdseg: cannot be read from the disk: Is a directory" in lines
    damaged = next(line for line in lines if line.startswith(f"{folder}/{IMPRO}_M000.wdseg:3: "))
    assert "malformed word alignment: malformed line 'xx" in damaged


def test_copy_without_alignments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = release.make(tmp_path / "IEMOCAP_full_release", sessions=[1])
    assert release.command(["words", str(root), str(tmp_path / "words.csv")]) == 2
    error = capsys.readouterr().err
    assert f"looked for SessionN/{alignment.FOLDER}/<dialog>/<utterance>.wdseg" in error
    assert "found: word alignment missing (8), folder missing (1)" in error
    assert not (tmp_path / "words.csv").exists()


def test_output_that_cannot_be_written(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert release.command(["words", str(root), str(root / "absent/words.csv")]) == 2
    assert "absent" in capsys.readouterr().err
