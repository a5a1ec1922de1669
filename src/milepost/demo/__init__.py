"""The demo: index the standard library as durable tasks, kill the process in the middle, and count what was lost.

`index` has the tasks, which use nothing but the public API; `symbols` is what they compute. `supervisor` starts, kills
and replaces the process of `worker`, compares the table with an uncut walk, and `display` shows it. Run
`python -m milepost.demo --help`.
"""
