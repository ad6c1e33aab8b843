"""The reasons of findings in a copy of the release."""

from __future__ import annotations

from pipeline.corpus import findings


class Reason(findings.Reason):
    """Text and outcome of each reason."""

    NO_SESSION = "session missing", "skipped"
    NO_FOLDER = "folder missing", "skipped"
    NO_DIALOG = "not named for a dialog of its session", "skipped"
    UNREADABLE = "cannot be read from the disk", "skipped"
    EMPTY = "empty text file", "skipped"
    OTHER_FORMAT = "wrong format, must be .txt, .avi or .wav", "skipped"
    BAD_LABEL = "malformed label line", "skipped"
    BAD_TIMES = "label does not end after its start", "skipped"
    UNKNOWN_EMOTION = "unknown emotion code", "skipped"
    OTHER_DIALOG = "id not of this dialog", "skipped"
    DUPLICATE = "id seen before in the file", "skipped"
    BAD_VOTE = "malformed rater's line", "skipped"
    NO_ID = "transcript line of no utterance", "skipped"
    UNNUMBERED = "XX id", "skipped"
    NO_LABEL = "in the transcript, not in the labels", "skipped"
    WAV_NO_LABEL = "wav without a label", "skipped"
    WAV_OTHER_DIALOG = "wav named for another dialog, not needed", "skipped"
    VIDEO_NO_LABEL = "video of a dialog without labels", "skipped"
    NO_TEXT = "in the labels, not in the transcript", "kept"
    WAV_MOVED = "wav in the folder of another dialog", "kept"
    NO_AUDIO = "wav missing", "kept"
    NO_VIDEO = "video missing", "kept"
    UNKNOWN_VOTE = "rater's word of no category", "counted as other"
    NO_ALIGNMENT = "word alignment missing", "kept"
    BAD_ALIGNMENT = "malformed word alignment", "skipped"
    ALIGNMENT_NO_LABEL = "word alignment without a label", "skipped"
    WINDOWS_1252 = "not UTF-8, read as Windows-1252", "kept"
    UTF_16 = "UTF-16, read as such", "kept"
