"""One session of a copy of the release: the files of its folders matched by utterance."""

from __future__ import annotations

from collections.abc import Container
from typing import NamedTuple

from pipeline.corpus.iemocap import formats, votes
from pipeline.corpus.iemocap.codes import EMOTIONS
from pipeline.corpus.iemocap.disk import AUDIO, LABELS, TRANSCRIPTS, VIDEO, Release
from pipeline.corpus.iemocap.reasons import Reason
from pipeline.corpus.utterance import DIMENSIONS, Source, Utterance


class _Labelled(NamedTuple):
    """A label line and the raters' lines below it."""

    line: int
    label: formats.Label
    votes: list[formats.Vote]


def read_session(
    release: Release, session: int, marked_actor: str
) -> list[tuple[Utterance, list[formats.Vote]]]:
    """Read ``SessionN`` of a copy.

    Parameters
    ----------
    release
        The copy; records the findings.
    session
        1 to 5.
    marked_actor
        The side of the video, ``left`` or ``right``, on which the actor with the markers sits.

    Returns
    -------
    list
        Each utterance with the raters' lines.
    """
    labels = release.dialogs(session, LABELS, ".txt")
    transcripts = release.dialogs(session, TRANSCRIPTS, ".txt")
    videos = release.dialogs(session, VIDEO, ".avi")
    folders = release.dialogs(session, AUDIO)
    recordings, moved = _recordings(release, folders)
    if not (labels or transcripts or videos or recordings or moved):
        release.add(Reason.NO_SESSION, f"Session{session}", detail="no dialog in its folders")
    for dialog in sorted(videos.keys() - labels.keys()):
        release.add(Reason.VIDEO_NO_LABEL, videos[dialog])
    for dialog in sorted(labels.keys() | transcripts.keys() | videos.keys() | folders.keys()):
        for folder, files in ((LABELS, labels), (TRANSCRIPTS, transcripts)):
            if dialog not in files:
                release.miss(f"Session{session}/{folder}/{dialog.name}.txt")
    rows = []
    for dialog in sorted(labels.keys() | transcripts.keys()):
        labelled, seen = _read_labels(release, dialog, labels.get(dialog))
        texts = _read_transcript(release, dialog, transcripts.get(dialog), seen)
        video = videos.get(dialog, "")
        if labelled and not video:
            expected = f"Session{session}/{VIDEO}/{dialog.name}.avi"
            release.miss(expected, Reason.NO_VIDEO, f"{len(labelled)} utterances")
        by_start = sorted((label.start, label.utterance) for _, label, _ in labelled)
        order = {name: number for number, (_, name) in enumerate(by_start)}
        for line, label, lines in labelled:
            name, speaker = label.utterance, formats.speaker(label.utterance)
            for word in votes.unknown(lines):
                release.add(Reason.UNKNOWN_VOTE, labels[dialog], line, f"{name}: {word}")
            if name not in texts:
                release.add(Reason.NO_TEXT, labels[dialog], line, name)
            audio = recordings.pop(name, "")
            if not audio and name in moved:
                audio = moved.pop(name)
                release.add(Reason.WAV_MOVED, audio)
            if not audio:
                expected = f"Session{session}/{AUDIO}/{dialog.name}/{name}.wav"
                release.miss(expected, Reason.NO_AUDIO)
            utterance = Utterance(
                id=name,
                dialog=dialog.name,
                order=order[name],
                speaker=f"Ses{dialog.session:02d}{speaker}",
                group=str(dialog.session),
                gender=speaker,
                start=label.start,
                end=label.end,
                text=texts.get(name, ""),
                emotion=label.emotion,
                audio=Source(audio) if audio else None,
                video=Source(video, formats.place(dialog, speaker, marked_actor))
                if video
                else None,
                scenario=dialog.scenario,
                votes=votes.count(lines),
                dimensions={name: getattr(label, name) for name in DIMENSIONS},
            )
            rows.append((utterance, lines))
        for name in seen:  # without those whose label was skipped, for a recorded reason
            recordings.pop(name, None)
    for path in recordings.values():
        release.add(Reason.WAV_NO_LABEL, path)
    for path in moved.values():
        release.add(Reason.WAV_OTHER_DIALOG, path)
    return rows


def _read_labels(
    release: Release, dialog: formats.Dialog, file: str | None
) -> tuple[list[_Labelled], set[str]]:
    """Return the utterances of a label file, and all its ids, including skipped ones."""
    labelled: list[_Labelled] = []
    seen: set[str] = set()
    lines: list[formats.Vote] = []  # of the last label line, also if that was skipped
    for number, line in release.lines(file) if file else []:
        if line.startswith("%"):
            continue
        if line.startswith(("C-", "A-")):
            vote = formats.vote_line(line)
            if vote:
                lines.append(vote)
            else:
                release.add(Reason.BAD_VOTE, str(file), number, line)
            continue
        lines = []
        label = formats.label_line(line)
        fault = _label_fault(dialog, label, line, seen)
        if label:
            seen.add(label.utterance)
        if fault:
            release.add(fault[0], str(file), number, fault[1])
        elif label:
            labelled.append(_Labelled(number, label, lines))
    return labelled, seen


def _label_fault(
    dialog: formats.Dialog, label: formats.Label | None, line: str, seen: set[str]
) -> tuple[Reason, str] | None:
    """Return the reason to skip a label line, with a detail; None if it is valid."""
    if not label:
        return Reason.BAD_LABEL, line
    fault = _id_fault(dialog, label.utterance, seen)
    if fault:
        return fault, label.utterance
    if label.emotion not in EMOTIONS:
        detail = f"{label.utterance}: {label.emotion[:20]!r} is none of {', '.join(EMOTIONS)}"
        return Reason.UNKNOWN_EMOTION, detail
    if label.start >= label.end:
        return Reason.BAD_TIMES, f"{label.utterance}: {label.start} to {label.end}"
    return None


def _id_fault(dialog: formats.Dialog, name: str, seen: Container[str]) -> Reason | None:
    """Return the reason to skip an id in a file of `dialog`; None if it is valid."""
    if formats.is_unnumbered(name):
        return Reason.UNNUMBERED
    if not formats.is_turn(name, dialog):
        return Reason.OTHER_DIALOG
    return Reason.DUPLICATE if name in seen else None


def _read_transcript(
    release: Release, dialog: formats.Dialog, file: str | None, labelled: set[str]
) -> dict[str, str]:
    """Return the texts of a transcript by utterance; those without a label are skipped."""
    texts: dict[str, str] = {}
    for number, line in release.lines(file) if file else []:
        read = formats.transcript_line(line)
        fault = _id_fault(dialog, read[0], texts) if read else Reason.NO_ID
        if not fault and read and read[0] not in labelled:
            fault = Reason.NO_LABEL
        if fault:
            release.add(fault, str(file), number, line)
        elif read:
            texts[read[0]] = read[1]
    return texts


def _recordings(
    release: Release, folders: dict[formats.Dialog, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the wav files of a session by utterance: in the folder of its dialog, and elsewhere.

    Ids are unique in the release, so a file in the folder of another dialog, such as another take,
    is used if there is no other.
    """
    own: dict[str, str] = {}
    moved: dict[str, str] = {}
    for dialog, folder in folders.items():
        for name, path in release.files(folder, ".wav").items():
            is_own = formats.is_turn(name, dialog) or formats.is_unnumbered(name)
            (own if is_own else moved).setdefault(name, path)
    return own, moved
