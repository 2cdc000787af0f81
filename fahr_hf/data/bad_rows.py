"""Everything that is wrong with a table in one message: people mend it in one sitting, and not one error at a time."""

from collections import defaultdict

# Rows that a message names; of the others it gives the number.
_NAMED = 10


class BadRows:
    """What is wrong with which rows of a table.

    Attributes:
        reasons: For each bad row, by its number from 1, why; what stands before a colon is the kind of reason.
    """

    def __init__(self) -> None:
        self.reasons: dict[int, list[str]] = defaultdict(list)

    def add(self, number: int, reason: str) -> None:
        """Note one more reason against a row, unless it has been noted."""
        if reason not in self.reasons[number]:
            self.reasons[number].append(reason)

    def complaint(self, rows: int, table: object, advice: str) -> str:
        """All that is wrong, by kind, with the numbers of the rows.

        Args:
            rows: Number of rows that were looked at.
            table: What the message calls the table.
            advice: What to do; the message ends with it.
        """
        kinds: dict[str, list[str]] = defaultdict(list)
        for number, reasons in sorted(self.reasons.items()):
            for reason in reasons:
                kind, _, detail = reason.partition(": ")
                kinds[kind].append(f"{number} ({detail})" if detail else str(number))
        lines = [f"{len(self.reasons)} of {rows} rows of {table} cannot be used:"]
        for kind, named in kinds.items():
            more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
            count = f"{len(named)} row{'s' if len(named) > 1 else ''}"
            lines.append(f"  {kind}, {count}: {', '.join(named[:_NAMED])}{more}")
        lines.append(f"Rows are counted from 1, without the header. {advice}")
        return "\n".join(lines)
