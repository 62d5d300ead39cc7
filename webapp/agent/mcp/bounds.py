"""How much a server may say, hold and cost; beyond that it is refused with a sentence."""

from __future__ import annotations

MESSAGE_MAX_BYTES = 8 * 1024 * 1024
TOO_LONG = f"The answer is longer than {MESSAGE_MAX_BYTES // 1024**2} MiB."
RUBBISH_MAX_LINES = 1000  # on standard output, between two messages
RUBBISH_MAX_BYTES = 1024 * 1024
ASKING_MAX = 200  # requests of a server to us: so many at once, and
ASKING_A_SECOND = 20  # so many a second for long
LAST_WORDS_BYTES = 2000

PAGES_MAX = 50
LISTED_MAX = 2000
DESCRIPTION_MAX_CHARS = 4096
SCHEMA_MAX_CHARS = 64 * 1024
CHECKED_MAX_CHARS = 16 * 1024  # what is larger is not looked into, nor are arguments for it
CHECK_SECONDS = 2.0  # for looking into the schemas of one list
SCHEMA_MAX_DEPTH = 40
FAULTS_TOLD = 5

CALLS_AT_ONCE = 64
TIMEOUTS_MAX = 16  # of calls on one connection, then there is a new one

STARTS_AT_ONCE = 4
START_SECONDS = 5.0  # what starting takes of the processor is over by then
CONNECT_SECONDS = 30.0
READY_SECONDS = 10.0  # a call waits as long for a server that is tried again
FIRST_WAIT_SECONDS = 10.0  # a turn waits as long for servers that were never there yet
LIST_SECONDS = 15.0
PROBE_SECONDS = 5.0
REFRESH_SECONDS = 300.0
LIST_PAUSE_SECONDS = 1.0
SOUND_SECONDS = 60.0  # a connection that lived so long was sound
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 60.0
HURRY_SECONDS = 1.0  # a call that waits for a server has it tried again so often
CLOSE_SECONDS = 8.0
