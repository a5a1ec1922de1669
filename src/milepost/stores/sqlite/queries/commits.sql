select commits from milepost_clock
