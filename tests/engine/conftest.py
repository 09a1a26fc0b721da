"""Property tests have no deadline: they also run where everything is slow."""

from hypothesis import settings

settings.register_profile("engine", deadline=None, max_examples=50)
settings.load_profile("engine")
