"""When things happen again and again, as values: intervals, cron expressions, days and times in a time zone.

Pure: asks no clock unless a preview asks for now, and knows no store. `firing` decides which instants fire.
"""
