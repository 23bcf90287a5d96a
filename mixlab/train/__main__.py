"""``python -m mixlab.train FILE.yaml``."""

import sys

from mixlab.train import main

sys.exit(main(sys.argv[1:]))
