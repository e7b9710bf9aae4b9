"""How the API reads the part of an address after the question mark: each parameter once."""

import re

from django.http import QueryDict

from config.errors import ValidationFailed

# Parameters that are whole numbers, wherever they are known. int() also takes "1_0", "+5" and
# " 5 ": each is more likely a slip than a wish.
WHOLE_NUMBERS = frozenset({"limit", "timeout_ms", "generation", "from_generation", "to_generation"})
DIGITS = re.compile(r"[0-9]{1,18}", re.ASCII)


class StrictQuery(QueryDict):
    """A query whose dict() takes no parameter twice, and no number that is not plain digits."""

    def dict(self) -> dict[str, str]:  # type: ignore[override]
        """Return each parameter's value; raises ValidationFailed, telling every fault."""
        faults = [
            {"pointer": f"/{name}", "code": code, "message": message}
            for name, values in self.lists()
            for code, message in _faults(name, values)
        ]
        if faults:
            raise ValidationFailed(faults)
        return {name: values[-1] for name, values in self.lists()}


def _faults(name: str, values: list[str]) -> list[tuple[str, str]]:
    if len(values) > 1:
        return [("parameter_repeated", "Name it once.")]
    if name in WHOLE_NUMBERS and not DIGITS.fullmatch(values[0]):
        return [("whole_number_expected", "Write digits only.")]
    return []
