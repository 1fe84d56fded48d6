"""The bridge: HTTP and push between the log and browsers.

In: requests, and the topics of lists, histories, models, catalogue and pipeline. Out: events and
control records on the log, answers, pushed messages.
"""
