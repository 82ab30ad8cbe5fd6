"""Training the backbone itself: its last blocks on stored activations, or all of it on stored pixels."""
