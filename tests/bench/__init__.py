"""Benchmarks: what StaqRaft promises in numbers, measured on this one machine.

`scripts/bench WHAT` runs one of `main.COMMANDS`: a module with `add_arguments` and `run`.

Figures mean nothing without their circumstances. So each run adds one line to `history.jsonl`,
beside this file and checked in: when, which commit ("+" behind it: with changes that are in no
commit), the machine's cores and kernel, its load before the run, and the figures. Commit the line
together with the change that it speaks of; `--no-record` is for trials.
"""
