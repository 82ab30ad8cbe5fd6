"""What happens inside a training loop, recorded and judged."""
