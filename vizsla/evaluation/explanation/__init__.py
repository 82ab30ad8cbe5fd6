"""Why a model said what it said of a picture."""
