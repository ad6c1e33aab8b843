"""``python -m pipeline.corpus.iemocap check|words ROOT``, as scripts of before call it."""

import sys

from pipeline.corpus.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
