"""A machine's clocks, and a process that can be stopped, continued and killed."""

from __future__ import annotations

from simulation.schedule import MS, Action, Schedule


class Clock:
    """The clocks of one machine: a speed of their own, and no relation to any other's."""

    def __init__(self, schedule: Schedule, *, drift_ppm: int, offset_us: int) -> None:
        self._schedule = schedule
        self.rate = 1 + drift_ppm / 1_000_000
        self._offset_us = offset_us
        self._asleep_us = 0  # by so much CLOCK_MONOTONIC is behind
        self._frozen_at: int | None = None  # since when every clock of it stands still
        self.wall_step_ms = 0  # what somebody did to the wall clock

    def boot_ms(self, *, later_us: int = 0) -> int:
        """CLOCK_BOOTTIME: goes on while the machine sleeps, and not while it is frozen.

        `later_us`: what it will be after that much true time.
        """
        now = self._schedule.now if self._frozen_at is None else self._frozen_at
        return int((now + later_us) * self.rate + self._offset_us) // MS

    def monotonic_s(self) -> float:
        """CLOCK_MONOTONIC: does not."""
        now = self._schedule.now * self.rate + self._offset_us - self._asleep_us
        return now / 1_000_000

    def true_us(self, duration_ms: float) -> int:
        """How long, truly, this machine takes to count a duration."""
        return int(duration_ms * MS / self.rate)

    def wall_ms(self) -> int:
        """Milliseconds since 1970: as all machines believe that ask the same time servers."""
        return 1_700_000_000_000 + self._schedule.now // MS + self.wall_step_ms

    def freeze(self) -> None:
        """A hypervisor pauses the machine: all its clocks stand still."""
        self._frozen_at = self._schedule.now

    def thaw(self) -> None:
        """They go on where they stood."""
        assert self._frozen_at is not None, "it does not stand still"
        self._offset_us -= int((self._schedule.now - self._frozen_at) * self.rate)
        self._frozen_at = None

    def slept(self, duration_us: int) -> None:
        """The machine was suspended for so long."""
        self._asleep_us += int(duration_us * self.rate)


class Process:
    """What belongs to one life of a process: its timers end with it, and wait while it stops."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self.alive = True
        self.since_us = schedule.now  # it runs
        self.runs = True  # alive and not stopped
        self._stops = 0
        self.interruptions = 0  # how often it was stopped, or went on
        self._backlog: list[Action] = []

    @property
    def stopped(self) -> bool:
        return self._stops > 0

    def after(self, delay_us: int, action: Action) -> None:
        """`action` happens then, or as soon as the process runs again, or never."""
        self._schedule.after(delay_us, action, self)

    def do(self, action: Action) -> None:
        """Now, or as soon as the process runs again, or never."""
        if self.runs:
            action()
        elif self.alive:
            self._backlog.append(action)

    def kill(self) -> None:
        self.alive = self.runs = False
        self._backlog.clear()

    def stop(self) -> None:
        """SIGSTOP; stops add up (the machine's and its own)."""
        self._stops += 1
        self.interruptions += 1
        self.runs = False

    def resume(self) -> None:
        self._stops = max(0, self._stops - 1)
        self.interruptions += 1
        self.since_us = self._schedule.now
        self.runs = self.alive and not self._stops
        while self._backlog and self.alive and not self._stops:
            waiting, self._backlog = self._backlog, []
            for at, action in enumerate(waiting):
                if self.stopped:  # again, by what it did
                    self._backlog = waiting[at:] + self._backlog
                    return
                if self.alive:
                    action()
