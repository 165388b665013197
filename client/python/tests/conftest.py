"""Property tests have no deadline for one example: a busy machine would fail them for nothing."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("without a deadline", deadline=None)
settings.load_profile("without a deadline")
