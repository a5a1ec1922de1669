"""The life of one task, as pure functions: states, record, events, and the transition between them.

Nothing in this folder awaits, reads a clock, logs or touches a store. Read `states`, then `record`, then `events`,
then `transition`: that is the heart of the house.
"""
