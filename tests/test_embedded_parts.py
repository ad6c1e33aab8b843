"""What the embedded corpus is made of: the plan, voices, faces and word vectors."""

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedded import espeak, face, film, lines, screenplay, vectors, voice
from embedded.screenplay import CLASSES, Trap
from pipeline import params


def plan(dialogs: int, seed: int, traps: bool, **more: Any) -> list[screenplay.Dialog]:
    return screenplay.write(
        params.Embedded(dialogs_per_session=dialogs, seed=seed, traps=traps, **more)
    )


class TestPlan:
    def test_seed_changes_the_plan(self) -> None:
        assert plan(1, 0, True) == plan(1, 0, True)
        assert plan(1, 0, True) != plan(1, 1, True)

    @pytest.mark.parametrize("seed", [0, 1])
    def test_default_size(self, seed: int) -> None:
        turns = [turn for dialog in plan(4, seed, True) for turn in dialog.turns]
        codes = Counter(turn.emotion for turn in turns if turn.in_labels)
        labelled = sum(codes[name] for name in CLASSES)
        assert labelled >= 240
        assert max(codes[name] for name in CLASSES) < 0.25 * labelled
        assert min(codes[name] for name in CLASSES) > 0.1 * labelled
        assert codes["xxx"] / len(turns) == pytest.approx(0.06, abs=0.02)

    def test_moods_persist_and_are_answered(self) -> None:
        repeated = {}
        for moods in ("independent", "persistent"):
            dialogs = plan(4, 0, False, moods=moods)
            pairs = [
                one == other
                for dialog in dialogs
                for speaker in "FM"
                for one, other in pairwise(
                    turn.emotion for turn in dialog.turns if turn.speaker == speaker
                )
            ]
            repeated[moods] = np.mean(pairs)
            for session in range(1, 6):
                shown = {turn.emotion for d in dialogs if d.session == session for turn in d.turns}
                assert shown >= set(CLASSES)
        assert repeated["independent"] < 0.15
        assert repeated["persistent"] > 0.4

    @pytest.mark.parametrize("traps", [True, False])
    def test_largest_corpus_has_each_dialog_once(self, traps: bool) -> None:
        names = [dialog.name for dialog in plan(28, 0, traps)]
        assert len(set(names)) == 5 * 28

    def test_takes_are_those_of_the_release(self) -> None:
        names = [dialog.name for dialog in plan(28, 0, False)]
        takes = [name for name in names if name[-1].isalpha()]
        assert takes == ["Ses03M_impro05a", "Ses03M_impro05b", "Ses05M_script01_1b"]

    def test_each_emotion_shows_somewhere_and_not_everywhere(self) -> None:
        turns = [
            turn
            for dialog in plan(4, 0, True)
            if Trap.NO_VIDEO not in dialog.traps
            for turn in dialog.turns
            if turn.emotion in CLASSES and turn.emotion != "neu"
        ]
        assert all(turn.emotion in turn.cues for turn in turns)
        for modality in screenplay.Cues._fields:
            shows = np.mean([getattr(turn.cues, modality) == turn.emotion for turn in turns])
            assert 0.5 < shows < 0.7

    def test_lines_vary_and_belong_to_one_class(self) -> None:
        rng = np.random.default_rng(0)
        drawn = {name: {lines.draw(name, rng) for _ in range(200)} for name in CLASSES}
        assert min(len(texts) for texts in drawn.values()) > 40
        for one, two in pairwise(CLASSES):
            assert not drawn[one] & drawn[two]


class TestVoices:
    def test_speech_does_not_depend_on_what_was_spoken_before(self) -> None:
        def say(actor: str) -> np.ndarray:
            return voice.speak("We open at 5.", voice.VOICES[actor], "sur", 1.0, 3).samples

        alone = {actor: say(actor) for actor in voice.VOICES}
        for actor in reversed(voice.VOICES):
            np.testing.assert_array_equal(say(actor), alone[actor])

    def test_unknown_voice_is_named(self) -> None:
        with pytest.raises(espeak.EspeakError, match="no voice xx-nobody"):
            espeak.speak("Hello.", "xx-nobody", rate=180, pitch=50, pitch_range=50)

    def test_silent_text_is_named(self) -> None:
        with pytest.raises(espeak.EspeakError, match="produces no sound"):
            espeak.speak("", "en-us+f1", rate=180, pitch=50, pitch_range=50)

    def test_unwritable_video_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "missing" / "a.avi"
        dialog = plan(1, 0, True)[0]
        with pytest.raises(OSError, match=str(path)):
            film.shoot(path, dialog, [], loudness={}, frames=0, rng=np.random.default_rng(0))

    def test_no_words_no_vectors(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="no words"):
            vectors.write(["", " "], 300, tmp_path / "glove.txt")


class TestVectors:
    def test_words_in_like_company_are_alike(self) -> None:
        sentences = [f"the {animal} {verb} now".split()
                     for animal in ("cat", "dog") for verb in ("runs", "sleeps")]  # fmt: skip
        sentences += [f"my {tool} is broken".split() for tool in ("saw", "drill")]
        words, table = vectors.train(sentences, 10)
        unit = table / np.linalg.norm(table, axis=1, keepdims=True)
        like = unit @ unit.T
        cat, dog, saw = (words.index(word) for word in ("cat", "dog", "saw"))
        assert like[cat, dog] > 0.9
        assert like[cat, dog] > like[cat, saw] + 0.5

    def test_dimensions_beyond_the_rank_are_zero(self) -> None:
        words, table = vectors.train([["a", "b"], ["b", "c"], ["a", "c"]], 300)
        assert words == ["a", "b", "c"]
        assert table.shape == (3, 300)
        assert not table[:, 3:].any()

    def test_most_frequent_word_first(self) -> None:
        words, _ = vectors.train([["b", "b", "a", "c"]], 2)
        assert words == ["b", "a", "c"]


class TestFaces:
    def test_expressions_differ_more_than_actors(self) -> None:
        def centre(actor: str, emotion: str) -> np.ndarray:
            expression = face.EXPRESSIONS[emotion]
            picture = face.draw(face.ACTORS[actor], expression, 1.0, 0.0, (0.0, 0.0, 0.0))
            assert picture.shape == (face.HEIGHT, face.WIDTH, 3)
            return picture[128:352, 68:292].astype(float)

        actors, emotions = ("Ses01F", "Ses05M"), CLASSES
        other_actor = max(
            np.abs(centre(actors[0], e) - centre(actors[1], e)).mean() for e in emotions
        )
        other_face = min(
            np.abs(centre(actors[0], "neu") - centre(actors[0], e)).mean()
            for e in emotions
            if e != "neu"
        )
        assert other_face > other_actor

    def test_speech_opens_the_mouth(self) -> None:
        actor, rest = face.ACTORS["Ses01F"], (0.0, 0.0, 0.0)
        closed, opened = (
            face.draw(actor, face.EXPRESSIONS["neu"], 1.0, speech, rest) for speech in (0.0, 1.0)
        )
        changed = np.argwhere((closed != opened).any(axis=2))
        assert len(changed) > 200
        assert changed[:, 0].min() > face.HEIGHT / 2
