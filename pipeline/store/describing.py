"""Description of the content of a feature store."""

from __future__ import annotations

from pathlib import Path

from pipeline.features.stream import SCHEMA_VERSION, Stream
from pipeline.store.reading import FeatureStore, open_checked


def describe(path: Path) -> str:
    """The content of a store, packed or not, as a table."""
    with FeatureStore(path) as opened:
        table, word = opened.utterances, opened.description.group
        counts = table["emotion"].replace("", "(none)").value_counts()
        emotions = [f"{name} {count}" for name, count in counts.items()]
        lines = [
            f"corpus      {opened.corpus}, schema version {SCHEMA_VERSION}",
            f"utterances  {len(opened)} in {table['dialog'].nunique()} dialogs, "
            f"{table['group'].nunique()} {word.several}, {table['speaker'].nunique()} speakers",
            f"emotions    {', '.join(emotions)}",
            f"transcripts {'with' if 'text' in table else 'without'}",
            f"sha256      {opened.sha256}",
            "",
            f"{'stream':<12}{'':<8}{'width':>6}{'type':>9}{'steps':>10}{'shortest':>10}{'mean':>8}"
            f"{'longest':>9}{'missing':>9}{'problems':>10}{'MiB':>8}",
        ]
        names = sorted(opened.streams, key=lambda name: (opened.modality(name), name))
        lines += [_row(opened.stream(name), opened.modality(name)) for name in names]
        lines.append("")
        for name in names:
            attributes = opened.stream(name).group.attrs
            lines.append(f"{name:<12}{attributes['parameters']}")
            lines.append(f"{'':<12}{attributes['provenance']}")
    return "\n".join(lines)


def _row(stream: Stream, modality: str) -> str:
    values = stream.group["values"]
    size = sum(d.id.get_storage_size() for d in stream.group.values()) / 2**20
    layers = f"{len(stream.layers)}x" if stream.layers else ""
    row = f"{stream.name:<12}{modality:<8}{f'{layers}{stream.width}':>6}{values.dtype.name:>9}"
    if stream.is_sequence:
        n = stream.lengths
        row += f"{n.sum():>10}{n.min():>10}{n.mean():>8.1f}{n.max():>9}"
    else:
        row += f"{'one row per utterance':>37}"
    return f"{row}{stream.missing.sum():>9}{len(stream.problems):>10}{size:>8.1f}"


def problems(path: Path) -> list[str]:
    """Missing and truncated features, as lines ``utterance: stream: reason``.

    Parameters
    ----------
    path
        A store, packed or not, or a stream file.
    """
    if path.is_file():
        with open_checked(path) as file:
            if "values" in file:
                return _problems(Stream(path.stem, file))
    with FeatureStore(path) as store:
        return [line for name in store.streams for line in _problems(store.stream(name))]


def _problems(stream: Stream) -> list[str]:
    return [
        f"{utterance}: {stream.name}: {reason}"
        for utterance, reasons in stream.problems.items()
        for reason in reasons
    ]
