"""Reading trials anew, or not."""

from smdebug.trials.utils import no_refresh, refresh

__all__ = ["no_refresh", "refresh"]
