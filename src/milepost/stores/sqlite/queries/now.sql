select newest from milepost_clock
