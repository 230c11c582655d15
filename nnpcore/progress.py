"""What a long run says: a tqdm bar on a terminal, elsewhere plain lines with ETA and finish time; lines go to a log."""

import sys
import time


class Progress:
    """Reports to stderr and, with a path, appends to a log. `quiet` leaves only the log."""

    def __init__(self, total, unit, log_path=None, quiet=False, done=0.0, interval=2.0):
        self.total, self.unit, self.interval = total, unit, interval
        self.first, self.began, self.last_line = done, time.monotonic(), -1e300
        self.file = open(log_path, "a", encoding="utf-8") if log_path else None  # noqa: SIM115 (closed in close())
        self.quiet, self.bar = quiet, None
        if not quiet and sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(
                total=total, initial=done, unit=unit, bar_format="{l_bar}{bar}| {n:.4g}/{total:.4g} {postfix}"
            )

    def line(self, text, always=True):
        """One line; with always=False it reaches the terminal at most every `interval` seconds, the log file always."""
        if self.file:
            self.file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
            self.file.flush()
        now = time.monotonic()
        if self.quiet or (not always and (self.bar is not None or now - self.last_line < self.interval)):
            return
        self.last_line = now
        if self.bar is not None:
            self.bar.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)

    def update(self, done, text=""):
        """Position `done` of `total`; text stands beside the bar."""
        if self.bar is not None:
            self.bar.n = min(done, self.total)
            self.bar.set_postfix_str(f"{text} {self.eta(done)}", refresh=False)
            self.bar.update(0)
            self.bar.refresh()

    def eta(self, done):
        """'ETA 00:03:10, ends 14:02', from the pace since this process began; '' before there is one."""
        elapsed = time.monotonic() - self.began
        if done <= self.first or elapsed <= 0:
            return ""
        left = int(max(self.total - done, 0.0) * elapsed / (done - self.first))
        finish = time.strftime("%a %H:%M" if left > 43200 else "%H:%M", time.localtime(time.time() + left))
        return f"ETA {left // 3600:02d}:{left // 60 % 60:02d}:{left % 60:02d}, ends {finish}"

    def close(self):
        """End of the bar and of the log file."""
        if self.bar is not None:
            self.bar.close()
        if self.file:
            self.file.close()
