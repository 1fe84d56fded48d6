"""What the fork server imports before the first fork: everything, with kernels loaded."""

import tests.crash.roles  # noqa: F401 - imported for its imports
from recstream.process.warmup import warm_up

warm_up()
