"""Speed and size, as ratios within one run. Each module explains itself with --help; `python -m benchmarks` runs them at a size that takes minutes."""
