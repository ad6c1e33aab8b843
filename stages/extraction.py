"""The common part of the stages `audio`, `text` and `visual`: extract a modality's streams."""

from pathlib import Path

from pipeline import params
from pipeline.corpus.table import read_table
from pipeline.corpus.utterance import from_table
from pipeline.features import extraction, pretrained
from pipeline.features.extractor import Context
from pipeline.system.cluster import connected, device_name

INTERIM = Path("data/interim")


def extract(
    modality: str,
    settings: params.Params,
    *,
    workers: int,
    network_workers: int | None = None,
    include_text: bool = True,
) -> None:
    """Extract all streams of `modality` from the tables that the stage `parse` wrote."""
    corpus, group = settings.corpus, getattr(settings, modality)
    pretrained.check(INTERIM / f"weights/{modality}.json", group.streams)
    with connected(settings.compute.cluster) as cluster:
        device = device_name(settings.compute, cluster)
        extraction.extract(
            modality,
            group.streams,
            from_table(read_table(INTERIM / corpus.name / f"{modality}.csv")),
            Context(Path(corpus.root), device, group),
            kept=INTERIM / "kept/features" / corpus.name / modality,
            output=Path("data/features") / corpus.name / modality,
            workers=workers,
            network_workers=network_workers,
            cluster=cluster,
            include_text=include_text,
        )
