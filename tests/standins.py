"""Small stand-ins of corpora in their exact layouts, spoken and drawn like the embedded corpus."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import soundfile
import soxr

from benchmarks import clips
from embedded import face, voice
from pipeline.corpus import crema_d, emodb, meld

FPS = 10
_FLASH_RATE = 22050  # one of the three that Flash video takes MP3 of
_EMBEDDED = {"anger": "ang", "happiness": "hap", "joy": "exc", "sadness": "sad", "surprise": "sur"}
"""What the embedded actors can do of an emotion; else neutral."""


@cache
def spoken(text: str, actor: str, emotion: str) -> np.ndarray:
    """[samples] at :data:`embedded.voice.RATE`."""
    return voice.speak(text, voice.VOICES[actor], _EMBEDDED.get(emotion, "neu"), 1.0, 0).samples


def drawn(actor: str, emotion: str, seconds: float, width: int, height: int) -> list[np.ndarray]:
    """Pictures, :data:`FPS` a second, of a face in their middle; blue, green, red."""
    expression = face.EXPRESSIONS[_EMBEDDED.get(emotion, "neu")]
    pictures = []
    for number in range(max(1, round(seconds * FPS))):
        head = face.draw(face.ACTORS[actor], expression, 1.0, number % 2, (0, 0, 0))
        scale = height / head.shape[0]
        head = cv2.resize(head, (round(head.shape[1] * scale), height))
        picture = np.full((height, width, 3), 128, np.uint8)
        left = (width - head.shape[1]) // 2
        picture[:, max(0, left) : max(0, left) + head.shape[1]] = head[:, :width]
        pictures.append(picture)
    return pictures


def _actor(number: int) -> str:
    return list(voice.VOICES)[number % len(voice.VOICES)]


def make_emodb(root: Path) -> Path:
    """Ten speakers, two emotions twice each, 22,050 Hz."""
    (root / "wav").mkdir(parents=True)
    for number, speaker in enumerate(emodb.BY_SPEAKER):
        for sentence, version in (("a01", "a"), ("b03", "b")):
            for letter in "WN":
                sound = spoken("Not today", _actor(number), emodb.EMOTIONS[letter])
                name = f"wav/{speaker}{sentence}{letter}{version}.wav"
                soundfile.write(root / name, np.repeat(sound, 2), 2 * voice.RATE)
    return root


MELD_LINES = {
    "train": [(0, 0, "Joey", "joy"), (0, 1, "Ross", "anger"), (1, 0, "Joey", "neutral")],
    "dev": [(0, 0, "Monica", "joy"), (0, 1, "Ross", "anger")],
    "test": [(0, 0, "Joey", "anger"), (0, 1, "Rachel", "joy"), (2, 0, "All", "neutral")],
}
_HEADER = (
    "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,"
    "StartTime,EndTime"
)


def make_meld(root: Path) -> Path:
    """Three parts whose ids repeat; clips of 1280 x 720 with sound of six channels."""
    root.mkdir(parents=True)
    for part, lines in MELD_LINES.items():
        rows, start = [], 976.059
        for number, (dialog, utterance, speaker, emotion) in enumerate(lines):
            actor = _actor(number)
            sound = spoken("How\u2019s that", actor, emotion)
            end = start + len(sound) / voice.RATE
            # both ways of writing the hour
            times = (_clock(start, hour="00"), _clock(end, hour="0" if number else "00"))
            rows.append(
                [
                    number + 1,
                    "How\u2019s that?",
                    speaker,
                    emotion,
                    "",
                    dialog,
                    utterance,
                    8,
                    21,
                    *times,
                ]
            )
            channels = np.zeros((6, len(sound)), np.float32)
            channels[2] = sound
            clips.write(
                root / meld.PARTS[part][1] / f"dia{dialog}_utt{utterance}.mp4",
                channels,
                drawn(actor, emotion, len(sound) / voice.RATE, 1280, 720),
                rate=voice.RATE,
                layout="5.1",
            )
            start = end
        with (root / f"{part}_sent_emo.csv").open("w", encoding="utf-8", newline="") as file:
            file.write(f"{_HEADER}\r\n")
            csv.writer(file).writerows(rows)
    return root


def _clock(seconds: float, hour: str) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{hour}:{int(minutes):02d}:{rest:06.3f}".replace(".", ",")


def make_crema_d(root: Path) -> Path:
    """Five actors, two emotions once each; sound of 16 kHz, Flash video with MP3, both tables."""
    for name in ("AudioWAV", "VideoFlash", "processedResults"):
        (root / name).mkdir(parents=True)
    actors, summary, counts = ["ActorID,Age,Sex,Race,Ethnicity"], [], []
    for number in range(5):
        actor = 1001 + number
        actors.append(f'{actor},30,"{("Male", "Female")[number % 2]}","Unknown","Not Hispanic"')
        for sentence, emotion, level in (("DFA", "ANG", "XX"), ("IEO", "NEU", "X")):
            name = f"{actor}_{sentence}_{emotion}_{level}"
            meaning = crema_d.EMOTIONS[emotion]
            sound = spoken("Not today", _actor(number), meaning)
            soundfile.write(root / f"AudioWAV/{name}.wav", sound, voice.RATE)
            clips.write(
                root / f"VideoFlash/{name}.flv",
                soxr.resample(sound, voice.RATE, _FLASH_RATE),
                drawn(_actor(number), meaning, len(sound) / voice.RATE, 480, 360),
                rate=_FLASH_RATE,
                codecs=("libmp3lame", "flv1"),
            )
            letter = emotion[0]
            summary.append(f'"{name}","{letter}","60.1","A:N","30.67:51.00","{letter}","64.78"')
            counts += [f"{kind},{int(letter == 'A')},0,0,0,{kind},0,{name}" for kind in range(1, 4)]
    (root / "VideoDemographics.csv").write_text("\n".join(actors))
    columns = "FileName,VoiceVote,VoiceLevel,FaceVote,FaceLevel,MultiModalVote,MultiModalLevel"
    table = [f'"",{columns}', *(f'"{n}",{line}' for n, line in enumerate(summary, 1))]
    (root / "processedResults/summaryTable.csv").write_text("\n".join(table))
    table = [
        "".join(['"",A,D,F,H,N,S,fileName']),
        *(f"{line[0]}0000{n},{line[2:]}" for n, line in enumerate(counts, 1)),
    ]
    (root / "processedResults/tabulatedVotes.csv").write_text("\n".join(table))
    return root


PHONE_LIST = """\
utterance,speaker,emotion,video
one,Ada,joy,one.mp4
two,Ada,anger,two.mp4
three,Bob,joy,three.mov
four,Bob,anger,four.mp4
five,Cyd,joy,five.mp4
"""


def make_phone(root: Path) -> Path:
    """Five upright phone videos, one of them in a MOV, and their list."""
    root.mkdir(parents=True)
    (root / "utterances.csv").write_text(PHONE_LIST)
    for number, line in enumerate(PHONE_LIST.splitlines()[1:]):
        _, speaker, emotion, video = line.split(",")
        actor = _actor("ABC".index(speaker[0]))
        sound = spoken("Not today", actor, emotion)
        pictures = drawn(actor, emotion, len(sound) / voice.RATE, 270, 480)
        # frames come when they come
        jitter = np.random.default_rng(number).uniform(0, 0.04, len(pictures))
        times = (np.arange(len(pictures)) / FPS + jitter).tolist()
        clips.write(root / video, sound, pictures, rate=voice.RATE, times=times)
    return root
