"""The control topic: requests of people, and the settings that change what is recommended.

In: records to submit. Out: its records in order, the timeline of settings, the steering in force.
"""

from recstream.control.compact import replace_before
from recstream.control.reader import control_record, control_records, read_control, read_timeline
from recstream.control.steering_feed import NEVER_SET, ActiveSteering, SteeringFeed
from recstream.control.submit import expect_generation, new_control_record, submit, wait_for
