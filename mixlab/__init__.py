"""mixlab: mixed-image contrastive pre-training that you can run, see and trust."""

import os

__version__ = "0.1.0"

# Threads that spin while they wait make two busy processes many times slower than one; read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
