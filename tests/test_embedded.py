"""The embedded corpus: layout, formats, traps, and the same bytes each time."""

import hashlib
import os
import re
import struct
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import soundfile

import embedded
from embedded import making, screenplay, textfiles
from embedded.screenplay import CLASSES, Trap
from pipeline import params
from pipeline.features.words import normalise, tokenise
from tests.test_kill import alive, children

LABEL = re.compile(
    r"\[(\d+\.\d{4}) - (\d+\.\d{4})\]\t(Ses\d\d[FM]_\w+_[FM]\d{3})\t(\w{3})\t"
    r"\[(\d\.\d{4}), (\d\.\d{4}), (\d\.\d{4})\]"
)
LINE = re.compile(r"(Ses\d\d[FM]_\w+_[FM]\d{3}) \[(\d{3}\.\d{4})-(\d{3}\.\d{4})\]: (.+)")
SIZE = params.Embedded(dialogs_per_session=1, seed=0, traps=True)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Make the smallest corpus, in two processes: its root and its vectors."""
    folder = tmp_path_factory.mktemp("embedded")
    root, glove = folder / "deep" / "IEMOCAP_full_release", folder / "glove.txt"
    embedded.make(SIZE, root, glove, workers=2)
    return root, glove


@pytest.fixture(scope="session")
def root(corpus: tuple[Path, Path]) -> Path:
    return corpus[0]


@pytest.fixture(scope="session")
def dialogs() -> dict[Trap, screenplay.Dialog]:
    """The dialog that carries each trap."""
    return {trap: dialog for dialog in screenplay.write(SIZE) for trap in dialog.traps}


def real(root: Path, pattern: str) -> list[Path]:
    return sorted(path for path in root.glob(pattern) if not path.name.startswith("."))


def text(path: Path) -> str:
    """A text file without line-end conversion."""
    return path.read_bytes().decode("cp1252")


def labels(root: Path, dialog: str = "*") -> dict[str, re.Match[str]]:
    files = real(root, f"Session*/dialog/EmoEvaluation/{dialog}.txt")
    found = [LABEL.fullmatch(line) for file in files for line in text(file).splitlines()]
    return {match[3]: match for match in found if match}


def transcript(root: Path, dialog: str = "*") -> dict[str, re.Match[str]]:
    files = real(root, f"Session*/dialog/transcriptions/{dialog}.txt")
    found = [LINE.fullmatch(line) for file in files for line in text(file).splitlines()]
    return {match[1]: match for match in found if match}


def video(root: Path, dialog: screenplay.Dialog) -> Path:
    folder = root / f"Session{dialog.session}" / "dialog" / "avi" / "DivX"
    return folder / f"{dialog.name}.avi"


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


class TestReproducible:
    def test_a_dialog_is_the_same_in_any_folder_and_process(
        self, root: Path, tmp_path: Path
    ) -> None:
        """Made alone in this process, and among the others in one of two."""
        dialog = screenplay.write(SIZE)[0]
        making._produce(dialog, tmp_path, SIZE.seed)
        alone, among = digests(tmp_path), digests(root)
        assert len(alone) > 5
        assert alone == {name: among[name] for name in alone}

    @pytest.mark.slow
    def test_any_folder_and_any_number_of_workers(
        self, corpus: tuple[Path, Path], tmp_path: Path
    ) -> None:
        root, glove = corpus
        again, vectors_again = tmp_path / "other", tmp_path / "vectors.txt"
        embedded.make(SIZE, again, vectors_again, workers=1)
        assert digests(again) == digests(root)
        assert vectors_again.read_bytes() == glove.read_bytes()

    def test_nothing_is_left_beside(self, corpus: tuple[Path, Path]) -> None:
        root, glove = corpus
        assert [path.name for path in root.parent.iterdir()] == [root.name]
        assert glove.is_file()
        assert not glove.with_name(f"{glove.name}.partial").exists()


class TestLayout:
    def test_sessions_and_folders(self, root: Path) -> None:
        assert {path.name for path in root.glob("Session*")} == {f"Session{n}" for n in range(1, 6)}
        for session in root.glob("Session*"):
            for folder in ("EmoEvaluation", "transcriptions", "wav"):
                assert len(real(session, f"dialog/{folder}/Ses*")) == 1
            assert real(session, "sentences/wav/*/*.wav")
            assert real(session, "sentences/ForcedAlignment/*/*.wdseg")
            for below in ("Categorical", "Attribute", "Self-evaluation"):
                assert real(session, f"dialog/EmoEvaluation/{below}/*.txt")

    def test_every_utterance_has_a_wav_of_its_length(self, root: Path) -> None:
        wavs = {path.stem: path for path in real(root, "Session*/sentences/wav/*/*.wav")}
        found = labels(root)
        assert set(found) <= set(wavs)
        for utterance, label in found.items():
            info = soundfile.info(wavs[utterance])
            assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
            assert info.duration == pytest.approx(float(label[2]) - float(label[1]), abs=2e-4)

    def test_wavs_are_cut_from_the_dialog(self, root: Path) -> None:
        label = next(iter(labels(root, "Ses01F_impro01").values()))
        whole, rate = soundfile.read(root / "Session1/dialog/wav/Ses01F_impro01.wav")
        part, _ = soundfile.read(root / f"Session1/sentences/wav/Ses01F_impro01/{label[3]}.wav")
        start = round(float(label[1]) * rate)
        np.testing.assert_array_equal(part, whole[start : start + len(part)])
        assert np.abs(part).max() > 0.01

    def test_ten_speakers_of_two_kinds_of_dialogs(self, root: Path) -> None:
        found = labels(root)
        assert len({name[:5] + name[-4] for name in found}) == 10
        names = {name.rpartition("_")[0] for name in found}
        assert {name[5] for name in names} == {"F", "M"}
        assert {re.sub(r"\d.*", "", name[7:]) for name in names} == {"impro", "script"}

    @pytest.mark.parametrize("trap", [Trap.VERY_SHORT_WAV, Trap.WAV_IN_OTHER_TAKE])
    def test_videos(self, root: Path, dialogs: dict[Trap, screenplay.Dialog], trap: Trap) -> None:
        capture = cv2.VideoCapture(str(video(root, dialogs[trap])))
        assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(29.97)
        code = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little")
        assert code in (b"XVID", b"FMP4")
        read, picture = capture.read()
        assert read
        assert picture.shape == (480, 720, 3)
        frames = 1
        while capture.grab():
            frames += 1
        assert frames == capture.get(cv2.CAP_PROP_FRAME_COUNT)
        last = max(float(label[2]) for label in labels(root, dialogs[trap].name).values())
        assert frames / 29.97 > last


class TestFormats:
    def test_label_files(self, root: Path) -> None:
        for file in real(root, "Session*/dialog/EmoEvaluation/*.txt"):
            header, empty, *rest = text(file).splitlines()
            assert header == "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]"
            assert not empty
            blocks = "\n".join(rest).strip().split("\n\n")
            assert len(blocks) == len(labels(root, file.stem))
            for block in blocks:
                self.check_block(block.splitlines())

    @staticmethod
    def check_block(rows: list[str]) -> None:
        label = LABEL.fullmatch(rows[0])
        assert label
        actor = f"{label[3][-4]}1"
        categories = dict(re.findall(r"^C-(\w+):\t(\w+);\t\(\)$", "\n".join(rows), re.M))
        assert set(categories) == {"E2", "E3", "E4", actor}
        votes = Counter(name for rater, name in categories.items() if rater != actor)
        name, count = votes.most_common(1)[0]
        if label[4] == "xxx":
            assert count == 1
        else:
            assert count >= 2
            assert name == textfiles.CATEGORIES[label[4]]
        attributes = {
            rater: [int(value) for value in values]
            for rater, *values in re.findall(
                r"^A-(\w+):\tval (\d); act (\d); dom  (\d);\t\(\)$", "\n".join(rows), re.M
            )
        }
        assert set(attributes) == {"E3", "E4", actor}
        mean = np.mean([attributes["E3"], attributes["E4"]], axis=0)
        assert mean.tolist() == [float(label[5]), float(label[6]), float(label[7])]

    def test_transcripts_agree_with_labels(self, root: Path) -> None:
        found, said = labels(root), transcript(root)
        both = found.keys() & said.keys()
        assert len(both) >= len(found) - 1
        for utterance in both:
            assert float(said[utterance][2]) == float(found[utterance][1])
            assert float(said[utterance][3]) == float(found[utterance][2])

    def test_raters_files_agree_with_labels(self, root: Path) -> None:
        file = next(iter(real(root, "Session1/dialog/EmoEvaluation/*.txt")))
        rows = text(file.parent / "Categorical" / f"{file.stem}_e3_cat.txt").splitlines()
        expected = re.findall(r"^C-E3:\t(\w+);", text(file), re.M)
        assert [row.split(" :")[1].removesuffix("; ()") for row in rows] == expected
        assert [row.split(" :")[0] for row in rows] == list(labels(root, file.stem))

    def test_word_alignments(self, root: Path) -> None:
        said = transcript(root)
        files = real(root, "Session*/sentences/ForcedAlignment/*/*.wdseg")
        assert len(files) > len(said) / 2
        for file in files:
            header, *rows, total = text(file).splitlines()
            assert header.split() == ["SFrm", "EFrm", "SegAScr", "Word"]
            assert total.startswith(" Total score:")
            frames = [tuple(map(int, row.split()[:2])) for row in rows]
            assert all(first <= last for first, last in frames)
            assert all(one[0] < two[0] for one, two in pairwise(frames))

    def test_vectors(self, corpus: tuple[Path, Path]) -> None:
        root, glove = corpus
        rows = glove.read_text(encoding="utf-8").splitlines()
        table = {word: values for word, *values in (row.rsplit(" ", 300) for row in rows)}
        assert len(table) == len(rows)
        assert {len(values) for values in table.values()} == {300}
        assert np.isfinite(np.array(list(table.values()), float)).all()
        words = {
            token
            for line in transcript(root).values()
            for token in tokenise(normalise(line[4], "word").lower())
        }
        assert words <= set(table)


class TestClasses:
    def test_smallest_corpus_has_all(self, root: Path) -> None:
        codes = Counter(label[4] for label in labels(root).values())
        assert set(codes) == {*CLASSES, "xxx", "fea", "oth"}
        assert min(codes[name] for name in CLASSES) >= 5


class TestTraps:
    def test_each_is_carried_by_the_smallest_corpus(
        self, dialogs: dict[Trap, screenplay.Dialog]
    ) -> None:
        assert set(dialogs) == set(Trap)

    def test_mac_litter(self, root: Path) -> None:
        assert len(list(root.rglob(".DS_Store"))) > 20
        for folder in ("EmoEvaluation", "transcriptions", "avi/DivX", "wav"):
            double = next(iter(root.glob(f"Session1/dialog/{folder}/._Ses*")))
            assert double.read_bytes().startswith(b"\x00\x05\x16\x07")
            with pytest.raises(UnicodeDecodeError):
                double.read_text(encoding="utf-8")
        assert list(root.glob("Session1/dialog/MOCAP_head/*.txt"))

    def test_transcript_lines_of_no_utterance(self, root: Path) -> None:
        for file in real(root, "Session*/dialog/transcriptions/*.txt"):
            rows = text(file).splitlines()
            assert "M: [LAUGHTER]" in rows
            assert any(re.match(r"Ses\w+_[FM]XX0 \[", row) for row in rows)

    def test_transcripts_are_out_of_time_order(self, root: Path) -> None:
        for file in real(root, "Session*/dialog/transcriptions/*.txt"):
            starts = [float(line[2]) for line in transcript(root, file.stem).values()]
            assert starts != sorted(starts)

    def test_marks_numbers_hyphens_and_dashes(self, root: Path) -> None:
        found = labels(root)
        said = "\n".join(line[4] for name, line in transcript(root).items() if name in found)
        for sign in ("[LAUGHTER]", "[BREATHING]", "[GARBAGE]", "[LIPSMACK]", "++LAUGHTER++"):
            assert sign in said
        assert re.search(r"\d", said)
        assert re.search(r"\w-\w", said)
        assert " -- " in said

    def test_labels_and_transcripts_lack_utterances(self, root: Path) -> None:
        found, said = labels(root), transcript(root)
        assert len(said.keys() - found.keys()) == 1
        assert len(found.keys() - said.keys()) == 1

    def test_dialog_without_video(self, root: Path, dialogs: dict[Trap, screenplay.Dialog]) -> None:
        missing = dialogs[Trap.NO_VIDEO]
        assert not video(root, missing).exists()
        assert len(real(root, "Session*/dialog/avi/DivX/*.avi")) == 4

    def test_line_ends_of_both_kinds(self, root: Path) -> None:
        for folder in ("transcriptions", "EmoEvaluation"):
            ends = {
                b"\r\n" in f.read_bytes() for f in real(root, f"Session*/dialog/{folder}/S*.txt")
            }
            assert ends == {True, False}

    def test_windows_1252(self, root: Path) -> None:
        files = [f.read_bytes() for f in real(root, "Session*/dialog/transcriptions/*.txt")]
        assert any(b"\x92" in content for content in files)
        assert any(b"'" in content for content in files)

    def test_overlapping_utterances_of_two_speakers(self, root: Path) -> None:
        overlaps = 0
        for file in real(root, "Session*/dialog/EmoEvaluation/*.txt"):
            spans = [
                (float(label[1]), float(label[2]), label[3][-4])
                for label in labels(root, file.stem).values()
            ]
            for one, two in pairwise(sorted(spans)):
                if two[0] < one[1]:
                    overlaps += 1
                    assert one[2] != two[2]
        assert overlaps >= 5

    def test_utterance_past_the_end_of_the_video(
        self, root: Path, dialogs: dict[Trap, screenplay.Dialog]
    ) -> None:
        dialog = dialogs[Trap.PAST_VIDEO_END]
        capture = cv2.VideoCapture(str(video(root, dialog)))
        seconds = capture.get(cv2.CAP_PROP_FRAME_COUNT) / 29.97
        ends = [float(label[2]) for label in labels(root, dialog.name).values()]
        assert max(ends) > seconds + 0.3

    def test_header_off_by_a_little(
        self, root: Path, dialogs: dict[Trap, screenplay.Dialog]
    ) -> None:
        path = video(root, dialogs[Trap.HEADER_OFF])
        (microseconds,) = struct.unpack_from("<I", path.read_bytes(), 32)
        assert microseconds == 33333
        capture = cv2.VideoCapture(str(path))
        frames = 0
        while capture.grab():
            frames += 1
            time = capture.get(cv2.CAP_PROP_POS_MSEC)
        assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == frames + 3
        assert time == pytest.approx((frames - 1) / 29.97 * 1000, abs=1)

    def test_wav_in_the_folder_of_another_take(
        self, root: Path, dialogs: dict[Trap, screenplay.Dialog]
    ) -> None:
        name = dialogs[Trap.WAV_IN_OTHER_TAKE].name
        folder = root / "Session2" / "sentences" / "wav"
        moved = [p for p in real(folder, "*/*.wav") if not p.stem.startswith(f"{p.parent.name}_")]
        assert len(moved) == 1
        assert moved[0].stem in labels(root, name)
        assert not (folder / name / moved[0].name).exists()

    def test_very_short_wav(self, root: Path) -> None:
        short = [
            path
            for path in real(root, "Session*/sentences/wav/*/*.wav")
            if soundfile.info(path).duration < 0.025
        ]
        assert len(short) == 1
        assert labels(root)[short[0].stem][4] == "xxx"


class TestErrors:
    def test_never_overwrites(self, tmp_path: Path) -> None:
        kept = tmp_path / "corpus" / "precious.txt"
        kept.parent.mkdir()
        kept.write_text("x")
        with pytest.raises(FileExistsError, match="remove it first"):
            embedded.make(SIZE, kept.parent, tmp_path / "glove.txt")
        assert kept.read_text() == "x"

    def test_cut_run_leaves_no_corpus_and_the_next_succeeds(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made: list[str] = []

        def produce(dialog: screenplay.Dialog, root: Path, seed: int) -> None:
            made.append(dialog.name)
            (root / f"{dialog.name}.txt").write_text("x")
            if len(made) == 3:
                raise KeyboardInterrupt

        monkeypatch.setattr(making, "_produce", produce)
        root, glove = tmp_path / "corpus", tmp_path / "glove.txt"
        with pytest.raises(KeyboardInterrupt):
            embedded.make(SIZE, root, glove)
        assert not root.exists()
        assert not glove.exists()
        (tmp_path / "corpus.partial" / "stale.txt").write_text("x")
        monkeypatch.setattr(making, "_litter", lambda root, everywhere: None)
        embedded.make(SIZE, root, glove)
        assert not (root / "stale.txt").exists()
        assert len(list(root.glob("Ses*.txt"))) == 5


@pytest.mark.slow
def test_worker_processes_end_with_a_run_that_is_killed(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from pipeline import params
import embedded
if __name__ == "__main__":
    folder = Path({str(tmp_path)!r})
    size = params.Embedded(dialogs_per_session=16, seed=0, traps=True)
    embedded.make(size, folder / "release", folder / "glove.txt", workers=2)
"""
    script = tmp_path / "make.py"
    script.write_text(code, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, script], env=environment, stderr=subprocess.DEVNULL
    ) as run:
        deadline = time.monotonic() + 60
        while not any(tmp_path.rglob("*.wav")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        workers = children(run.pid)
        run.kill()
    assert len(workers) >= 2
    deadline = time.monotonic() + 20
    while any(map(alive, workers)):
        assert time.monotonic() < deadline, "workers outlive the run that was killed"
        time.sleep(0.01)
