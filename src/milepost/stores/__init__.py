"""Where tasks live. `protocol` says what every store must do; `operations` are the verbs that all callers share."""
