"""One session of a copy of the release: its folders put together, utterance by utterance."""

from __future__ import annotations

from collections.abc import Container
from typing import Any, NamedTuple

from pipeline.corpus.iemocap import formats, seats, votes
from pipeline.corpus.iemocap.codes import EMOTIONS
from pipeline.corpus.iemocap.disk import AUDIO, LABELS, TRANSCRIPTS, VIDEO, Copy
from pipeline.corpus.iemocap.reasons import Reason
from pipeline.corpus.utterance import DIMENSIONS, Source, Utterance


class _Labelled(NamedTuple):
    """A label line and the raters' lines below it."""

    line: int
    label: formats.Label
    votes: list[formats.Vote]


def read_session(
    copy: Copy, session: int, marked_actor: str
) -> list[tuple[Utterance, list[formats.Vote]]]:
    """Read ``SessionN`` of a copy.

    Parameters
    ----------
    copy
        The copy; it keeps account of all that is missing, skipped or odd.
    session
        1 to 5.
    marked_actor
        The side of the video, ``left`` or ``right``, where the actor with the markers sits.

    Returns
    -------
    list
        The utterances, and every rater's line of each.
    """
    labels = copy.dialogs(session, LABELS, ".txt")
    transcripts = copy.dialogs(session, TRANSCRIPTS, ".txt")
    videos = copy.dialogs(session, VIDEO, ".avi")
    folders = copy.dialogs(session, AUDIO)
    recordings = _Recordings(copy, folders)
    if not (labels or transcripts or videos or recordings):
        copy.add(Reason.NO_SESSION, f"Session{session}", detail="no dialog in its folders")
    for dialog in sorted(videos.keys() - labels.keys()):
        copy.add(Reason.VIDEO_NO_LABEL, videos[dialog])
    for dialog in sorted(labels.keys() | transcripts.keys() | videos.keys() | folders.keys()):
        for folder, files in ((LABELS, labels), (TRANSCRIPTS, transcripts)):
            if dialog not in files:
                copy.miss(f"Session{session}/{folder}/{dialog.name}.txt")
    rows = []
    for dialog in sorted(labels.keys() | transcripts.keys()):
        labelled, seen = _read_labels(copy, dialog, labels.get(dialog))
        texts = _read_transcript(copy, dialog, transcripts.get(dialog), seen)
        video = videos.get(dialog, "")
        if labelled and not video:
            expected = f"Session{session}/{VIDEO}/{dialog.name}.avi"
            copy.miss(expected, Reason.NO_VIDEO, f"{len(labelled)} utterances")
        earlier = sorted((label.start, label.utterance) for _, label, _ in labelled)
        order = {name: number for number, (_, name) in enumerate(earlier)}
        for line, label, given in labelled:
            name = label.utterance
            for word in votes.unknown(given):
                copy.add(Reason.UNKNOWN_VOTE, labels[dialog], line, f"{name}: {word}")
            if name not in texts:
                copy.add(Reason.NO_TEXT, labels[dialog], line, name)
            audio = recordings.take(name)
            if not audio:
                expected = f"Session{session}/{AUDIO}/{dialog.name}/{name}.wav"
                copy.miss(expected, Reason.NO_AUDIO)
            seat = seats.place(dialog, formats.speaker(name), marked_actor)
            utterance = _utterance(
                label,
                dialog=dialog,
                order=order[name],
                text=texts.get(name, ""),
                audio=Source(audio) if audio else None,
                video=Source(video, seat) if video else None,
                votes=votes.count(given),
            )
            rows.append((utterance, given))
        recordings.drop(seen)
    recordings.report_rest()
    return rows


def _utterance(label: formats.Label, *, dialog: formats.Dialog, **found: Any) -> Utterance:
    """Put together what the ids of an utterance say, and what was `found` of it."""
    speaker = formats.speaker(label.utterance)
    return Utterance(
        id=label.utterance,
        dialog=dialog.name,
        speaker=f"Ses{dialog.session:02d}{speaker}",
        group=str(dialog.session),
        gender=speaker,
        start=label.start,
        end=label.end,
        emotion=label.emotion,
        scenario=dialog.scenario,
        dimensions={name: getattr(label, name) for name in DIMENSIONS},
        **found,
    )


def _read_labels(
    copy: Copy, dialog: formats.Dialog, file: str | None
) -> tuple[list[_Labelled], set[str]]:
    """Return the utterances of a label file, and all ids in it, skipped ones included."""
    labelled: list[_Labelled] = []
    seen: set[str] = set()
    given: list[formats.Vote] = []  # of the label line above; of a skipped one they go nowhere
    for number, line in copy.lines(file) if file else []:
        if line.startswith("%"):
            continue
        if line.startswith(("C-", "A-")):
            vote = formats.vote_line(line)
            if vote:
                given.append(vote)
            else:
                copy.add(Reason.BAD_VOTE, str(file), number, line)
            continue
        given = []
        label = formats.label_line(line)
        fault = _label_fault(dialog, label, line, seen)
        if label:
            seen.add(label.utterance)
        if fault:
            copy.add(fault[0], str(file), number, fault[1])
        elif label:
            labelled.append(_Labelled(number, label, given))
    return labelled, seen


def _label_fault(
    dialog: formats.Dialog, label: formats.Label | None, line: str, seen: set[str]
) -> tuple[Reason, str] | None:
    """Return why a label line is skipped, with a detail; None for a good one."""
    if not label:
        return Reason.BAD_LABEL, line
    fault = _id_fault(dialog, label.utterance, seen)
    if fault:
        return fault, label.utterance
    if label.emotion not in EMOTIONS:
        known = ", ".join(EMOTIONS)
        detail = f"{label.utterance}: {label.emotion[:20]!r} is none of {known}"
        return Reason.UNKNOWN_EMOTION, detail
    if label.start >= label.end:
        return Reason.BAD_TIMES, f"{label.utterance}: {label.start} to {label.end}"
    return None


def _id_fault(dialog: formats.Dialog, name: str, seen: Container[str]) -> Reason | None:
    """Return why an id in a file of `dialog` is none to use; None for a good one."""
    if formats.is_unnumbered(name):
        return Reason.UNNUMBERED
    if not formats.is_turn(name, dialog):
        return Reason.OTHER_DIALOG
    return Reason.DUPLICATE if name in seen else None


def _read_transcript(
    copy: Copy, dialog: formats.Dialog, file: str | None, labelled: set[str]
) -> dict[str, str]:
    """Return the texts of a transcript by utterance; lines without a label are skipped."""
    texts: dict[str, str] = {}
    for number, line in copy.lines(file) if file else []:
        read = formats.transcript_line(line)
        fault = _id_fault(dialog, read[0], texts) if read else Reason.NO_ID
        if not fault and read and read[0] not in labelled:
            fault = Reason.NO_LABEL
        if fault:
            copy.add(fault, str(file), number, line)
        elif read:
            texts[read[0]] = read[1]
    return texts


class _Recordings:
    """The wav files of a session; an utterance's own folder comes before any other.

    A file in the folder of another dialog, such as another take, is the utterance that its name
    says: ids are unique in the release.
    """

    def __init__(self, copy: Copy, folders: dict[formats.Dialog, str]) -> None:
        self._copy = copy
        self._own: dict[str, str] = {}
        self._moved: dict[str, str] = {}
        for dialog, folder in folders.items():
            for name, path in copy.files(folder, ".wav").items():
                own = formats.is_turn(name, dialog) or formats.is_unnumbered(name)
                (self._own if own else self._moved).setdefault(name, path)

    def __len__(self) -> int:
        return len(self._own) + len(self._moved)

    def take(self, utterance: str) -> str:
        """Return the path of an utterance's recording; empty if there is none."""
        if utterance in self._own:
            return self._own.pop(utterance)
        path = self._moved.pop(utterance, "")
        if path:
            self._copy.add(Reason.WAV_MOVED, path)
        return path

    def drop(self, utterances: set[str]) -> None:
        """Pass over utterances whose labels were skipped, for reasons that are recorded."""
        for utterance in utterances:
            self._own.pop(utterance, None)

    def report_rest(self) -> None:
        """Record every file that was not taken."""
        for path in self._own.values():
            self._copy.add(Reason.WAV_NO_LABEL, path)
        for path in self._moved.values():
            self._copy.add(Reason.WAV_OTHER_DIALOG, path)
