"""The saved model and what runs it. timm and torch are touched in ``backbone`` and ``export`` only."""
