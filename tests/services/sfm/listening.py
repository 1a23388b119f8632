"""A listener of steps that keeps all it hears."""

from dataclasses import dataclass, field


@dataclass
class Listener:
    """What a job's owner would see. progress: (done, total, operation) of every call."""

    lines: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    progressed: list[tuple[int, int, str | None]] = field(default_factory=list)

    def step(self, name: str) -> None:
        self.lines.append(name)

    def progress(self, done: int, total: int, operation: str | None = None) -> None:
        self.progressed.append((done, total, operation))

    def log(self, message: str) -> None:
        self.lines.append(message)

    def warn(self, message: str) -> None:
        self.warnings.append(message)
