"""The programs: staqraftd (a node), staqctl (for administrators), staqraft-data (a data worker).

**staqctl** is written for somebody who was woken at three. It says first whether all is well and
what to do if not; tables come after. `concerns` finds what is wrong in a status (pure), `rendering`
makes text of answers (pure), `connection` finds the daemon and says in plain words why it
does not answer, `commands` asks. Text from other hosts and names of files are made harmless before
they reach a terminal.

**Machines** use `--json`: one object a line, field names as in proto/, every field present. An
error is an object too, with `error` and `exit_code`. The exit codes are those of staqraft.errors
and are listed in `staqctl --help`; an error of the daemon ends staqctl with the daemon's own code.
"""
