"""Search: which hyperparameters are best, found with as little work as possible."""
