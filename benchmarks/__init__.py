"""Speed and size, as ratios within one run; each module explains itself with --help, `python -m benchmarks` runs them all."""
