"""Command line: ``python -m pipeline.params migrate OLD.yaml``."""

import sys

from pipeline.params.migration import main

sys.exit(main())
