"""Write the table of the comparison from the rows that `dvc repro comparison/dvc.yaml` made."""

from pathlib import Path

from pipeline import params
from pipeline.comparison import rows, table, writing
from stages import run

FOLDER = Path("comparison")
OUTPUT = Path("results")


def main() -> None:
    settings = params.load()
    listed = rows.read(FOLDER / "rows.yaml")
    store = Path("data/features", settings.corpus.name)
    results = table.results(listed, settings, Path("data/comparison"), store)
    published = table.published(FOLDER / "published.csv", listed)
    comparison = table.build(results, listed.references, published, listed.all_left_out(settings))
    writing.write(comparison, OUTPUT)
    print(f"{OUTPUT / 'comparison.md'}: {len(comparison.rows)} models")


if __name__ == "__main__":
    run(main)
