"""Is a stored run still what it says it is? Its files re-checked, and on request its first epoch trained again.

    python -m mixlab.runs verify latest --retrain
"""

from mixlab.verify.checks import Check, verify
from mixlab.verify.choice import select
from mixlab.verify.retrain import retrain

__all__ = ["Check", "retrain", "select", "verify"]
