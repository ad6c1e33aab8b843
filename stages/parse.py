"""Stage `parse`: labels, transcripts and media files of the release to one utterance table."""

from pathlib import Path

from pipeline import params
from pipeline.corpus import findings, iemocap
from stages import run

INTERIM = Path("data/interim")


def main() -> None:
    """Run the stage in the repository's root."""
    settings = params.load()
    parsed = iemocap.parse(settings.corpus.root, settings.corpus.iemocap.marked_actor)
    iemocap.write(parsed, INTERIM)
    print(findings.summary(parsed.report))


if __name__ == "__main__":
    run(main)
