"""``python -m pipeline.corpus.iemocap check|words ROOT``: :mod:`pipeline.corpus` of this corpus."""

import sys

from pipeline.corpus.__main__ import main

if __name__ == "__main__":
    sys.exit(main(format="iemocap"))
