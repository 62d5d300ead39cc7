"""A lock for a few lines that wait for nothing, which costs a tenth of the ordinary one."""

from __future__ import annotations

from _thread import RLock

# Under gevent an ordinary lock parks greenlets, and so looks after the loop at each use. This one
# is the thread's own: it keeps native threads apart, and greenlets of one thread need no lock as
# long as nothing between taking it and giving it back can switch to another of them: no sleep, no
# reading or writing, no start of a thread, no wait. The thread that has it may take it again,
# because the collector may end an abandoned stream, and so give back what that held, in the middle
# of the same lines.
BriefLock = RLock
