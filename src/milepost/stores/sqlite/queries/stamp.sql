update milepost_clock set newest = max(newest, ?), commits = commits + 1
