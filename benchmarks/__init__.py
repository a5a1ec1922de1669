"""What milepost does on this machine, next to the floor that this machine sets. `python -m benchmarks`."""
